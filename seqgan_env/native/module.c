/* The extension module: kernels called with addresses and sizes as Python ints; none holds the interpreter lock while it works. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "vectors.h"

/* Every kernel and the number of its arguments; a new one needs its line here and its file in setup.py. */
#define KERNELS(X) \
    X(softmax_draw, 12) X(softmax_log_probs, 14) X(softmax_gradients, 21) X(lstm_complete, 27) X(lstm_log_probs, 25) \
    X(pool_tables, 12) X(scatter_tables, 11) X(pool_windows, 12) X(weight_gradient, 11) X(window_gradient, 11) \
    X(product, 16) X(highway, 6) X(highway_gradient, 8)

enum { MOST_ARGUMENTS = 64 };

static int read_arguments(PyObject *const *given, Py_ssize_t count, Argument *arguments) {
    for (Py_ssize_t i = 0; i < count; i++) {
        if (PyFloat_Check(given[i])) arguments[i].number = PyFloat_AS_DOUBLE(given[i]);
        else arguments[i].size = PyLong_AsLongLong(given[i]);
        if (PyErr_Occurred()) return -1;
    }
    return 0;
}

static PyObject *call(int (*kernel)(const Argument *), Py_ssize_t expected, PyObject *const *given, Py_ssize_t count) {
    Argument arguments[MOST_ARGUMENTS];
    int status;
    if (count != expected) return PyErr_Format(PyExc_TypeError, "%zd arguments given; expected %zd", count, expected);
    if (read_arguments(given, count, arguments)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    status = kernel(arguments);
    Py_END_ALLOW_THREADS
    if (status == NO_MEMORY) return PyErr_NoMemory();
    if (status == BAD_INDEX) return PyErr_Format(PyExc_IndexError, "a token is outside the vocabulary");
    Py_RETURN_NONE;
}

#define WRAPPER(name, count) \
    int name(const Argument *); \
    static PyObject *call_##name(PyObject *module, PyObject *const *given, Py_ssize_t num_given) { \
        (void)module; \
        return call(name, count, given, num_given); \
    }
KERNELS(WRAPPER)

#define METHOD(name, count) {#name, (PyCFunction)(void (*)(void))call_##name, METH_FASTCALL, NULL},
static PyMethodDef methods[] = {KERNELS(METHOD){NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_native", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__native(void) {
    if (!HAS_AVX512) return PyErr_Format(PyExc_ImportError, "this processor has no AVX-512");
    PyObject *module = PyModule_Create(&definition);
    if (module && PyModule_AddStringConstant(module, "BUILT_FROM", BUILT_FROM)) Py_CLEAR(module);
    return module;
}
