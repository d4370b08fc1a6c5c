/* The extension module: kernels called with addresses and sizes as Python ints; none holds the interpreter lock while it works. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "vectors.h"

/* Every kernel and the number of its arguments; a new one needs its line here. */
#define KERNELS(X) \
    X(softmax_pack, 7) X(softmax_draw, 12) X(softmax_log_probs, 14) X(softmax_gradients, 21) \
    X(lstm_complete, 27) X(lstm_log_probs, 25) X(lstm_states, 13) X(lstm_states_gradient, 12) \
    X(pool_tables, 12) X(scatter_tables, 11) X(pool_windows, 12) X(pack_windows, 9) X(weight_gradient, 15) X(window_gradient, 12) \
    X(product, 16) X(head, 10) X(head_gradient, 15) X(half_head, 8) X(adam_product, 14) X(adam, 9) X(fingerprint, 5)

enum { MOST_ARGUMENTS = 64 };

static int read_arguments(PyObject *const *given, Py_ssize_t count, Argument *arguments) {
    for (Py_ssize_t i = 0; i < count; i++) {
        if (PyFloat_Check(given[i])) arguments[i].number = PyFloat_AS_DOUBLE(given[i]);
        else arguments[i].size = PyLong_AsLongLong(given[i]);
        if (PyErr_Occurred()) return -1;
    }
    return 0;
}

typedef int Kernel(const Argument *);

/* The kernel on as many ranges as there are threads, which together are 0..size - 1; borders are multiples of `grain`. The threads
   are torch's own: two pools would keep each other from the cores. */
static int spread(Kernel *kernel, const Argument *arguments, long count, long size, long grain, long threads) {
    const long parts = (size + grain - 1) / grain;
    int worst = FINE;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(max : worst) if (threads > 1)
    for (long i = 0; i < threads; i++) {
        Argument own[MOST_ARGUMENTS];
        memcpy(own + 2, arguments, count * sizeof(Argument));
        own[0].size = parts * i / threads * grain;
        own[1].size = at_most(size, parts * (i + 1) / threads * grain);
        const int status = kernel(own);
        if (status > worst) worst = status;
    }
    return worst;
}

/* A kernel is called from Python with size, grain and threads before its own arguments, which follow begin and end. */
static PyObject *call(Kernel *kernel, Py_ssize_t expected, PyObject *const *given, Py_ssize_t count) {
    Argument arguments[MOST_ARGUMENTS];
    int status;
    if (count != expected + 1) return PyErr_Format(PyExc_TypeError, "%zd arguments given; expected %zd", count, expected + 1);
    if (read_arguments(given, count, arguments)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    status = spread(kernel, arguments + 3, count - 3, arguments[0].size, arguments[1].size, arguments[2].size);
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
