/* The extension module of one variant: its constants, its kernels with a description of what they
   read, and calls of them that check it. No kernel holds the interpreter lock while it works. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <string.h>

#include "kernels.h"

#define JOIN_NAMES(a, b) a##b
#define JOIN(a, b) JOIN_NAMES(a, b)
#define TEXT_OF(text) #text
#define TEXT(text) TEXT_OF(text)

/* What is known of a kind: FORM_floats, PYTHON_floats and so on. */
#define DEFINE_FORM(kind, type, form, python_name, optional) \
    enum { FORM_##kind = form, OPTIONAL_##kind = optional }; \
    static const char PYTHON_##kind[] = python_name;
KINDS(DEFINE_FORM)

typedef struct {
    const char *name, *python_name;
    Form form;
    int optional;
    size_t offset; /* in the arguments of its kernel */
} Argument;

typedef struct {
    const char *name;
    const Argument *arguments;
    Py_ssize_t num_arguments;
    int (*run)(const void *arguments);
    int (*find_wrong)(const void *arguments, const int64_t *counts, int64_t *expected);
} Kernel;

/* For every kernel: what its arguments are, which tensor is the first (or -1) with another count
   than is read, and a call. */
#define DESCRIBE(kind, name, count) \
    {#name, PYTHON_##kind, (Form)FORM_##kind, OPTIONAL_##kind, offsetof(Arguments, name)},
#define COMPARE(kind, name, count) \
    i++; \
    if ((Form)FORM_##kind == AS_TENSOR && a->name && counts[i] != (*expected = (count))) return i;
#define DEFINE(kernel, ARGUMENTS) \
    static const Argument *describe_##kernel(Py_ssize_t *num) { \
        typedef kernel##_arguments Arguments; \
        static const Argument all[] = {ARGUMENTS(DESCRIBE)}; \
        *num = sizeof all / sizeof *all; \
        return all; \
    } \
    static int find_wrong_##kernel( \
        const void *arguments, const int64_t *counts, int64_t *expected \
    ) { \
        const kernel##_arguments *a = arguments; \
        int i = -1; \
        ARGUMENTS(COMPARE) \
        return -1; \
    } \
    static int run_##kernel(const void *arguments) { return kernel(arguments); }
KERNELS(DEFINE)

enum { MOST_ARGUMENTS = 32 };

/* The arguments of any kernel. */
#define ROOM(kernel, ARGUMENTS) kernel##_arguments of_##kernel;
typedef union {
    Range range;
    KERNELS(ROOM)
} Arguments;

/* Reads one argument from *given on, and moves *given behind it. */
static int read_argument(
    const Argument *argument, PyObject *const **given, char *arguments, int64_t *count
) {
    char *place = arguments + argument->offset;
    PyObject *value = *(*given)++;
    if (argument->form == AS_NUMBER) {
        const float number = (float)PyFloat_AsDouble(value);
        memcpy(place, &number, sizeof number);
    } else if (argument->form == AS_TENSOR) {
        void *address = PyLong_AsVoidPtr(value);
        memcpy(place, &address, sizeof address);
        if (!PyErr_Occurred()) *count = PyLong_AsLongLong(*(*given)++);
    } else {
        const long whole = PyLong_AsLong(value);
        memcpy(place, &whole, sizeof whole);
        if (!PyErr_Occurred() && argument->form == AS_SIZE && whole < 0)
            PyErr_Format(
                PyExc_ValueError, "%s is %ld; it cannot be negative", argument->name, whole
            );
    }
    return PyErr_Occurred() ? -1 : 0;
}

static int read_arguments(
    const Kernel *kernel, PyObject *const *given, Py_ssize_t num_given, Arguments *arguments
) {
    int64_t counts[MOST_ARGUMENTS], expected = 0;
    Py_ssize_t wanted = 0;
    for (Py_ssize_t i = 0; i < kernel->num_arguments; i++)
        wanted += kernel->arguments[i].form == AS_TENSOR ? 2 : 1;
    if (num_given != wanted) {
        PyErr_Format(
            PyExc_TypeError, "kernel %s was given %zd numbers; it takes %zd", kernel->name,
            num_given, wanted
        );
        return -1;
    }
    for (Py_ssize_t i = 0; i < kernel->num_arguments; i++)
        if (read_argument(kernel->arguments + i, &given, (char *)arguments, counts + i)) return -1;
    const int wrong = kernel->find_wrong(arguments, counts, &expected);
    if (wrong >= 0)
        PyErr_Format(
            PyExc_ValueError, "kernel %s was given %lld numbers for %s; it reads %lld",
            kernel->name, (long long)counts[wrong], kernel->arguments[wrong].name,
            (long long)expected
        );
    return wrong >= 0 ? -1 : 0;
}

/* The kernel on as many ranges as there are threads, which together are 0..size - 1; borders are
   multiples of `grain`. The threads are torch's own: two pools would keep each other from the
   cores. The fault is that of the first range that has one. */
static int spread(
    const Kernel *kernel, const Arguments *arguments, long grain, long threads, Fault *fault
) {
    const long size = arguments->range.size, parts = (size + grain - 1) / grain;
    long first = threads;
    int worst = FINE;
#pragma omp parallel for num_threads(threads) schedule(static, 1) \
    reduction(max : worst) if (threads > 1)
    for (long i = 0; i < threads; i++) {
        Arguments own = *arguments;
        Fault of_own = {0, 0};
        const long end = parts * (i + 1) / threads * grain;
        own.range.begin = parts * i / threads * grain;
        own.range.end = end < size ? end : size;
        own.range.fault = &of_own;
        const int status = kernel->run(&own);
        if (status > worst) worst = status;
        if (status == BAD_TOKEN) {
#pragma omp critical
            if (i < first) {
                first = i;
                *fault = of_own;
            }
        }
    }
    return worst;
}

/* A kernel is called from Python with size, grain and threads before its own arguments. */
static PyObject *call(const Kernel *kernel, PyObject *const *given, Py_ssize_t num_given) {
    Arguments arguments;
    Fault fault;
    long first[3];
    int status;
    if (num_given < 3)
        return PyErr_Format(
            PyExc_TypeError, "kernel %s needs size, grain and threads", kernel->name
        );
    for (int i = 0; i < 3; i++) {
        first[i] = PyLong_AsLong(given[i]);
        if (PyErr_Occurred()) return NULL;
    }
    memset(&arguments, 0, sizeof arguments);
    arguments.range.size = first[0];
    if (read_arguments(kernel, given + 3, num_given - 3, &arguments)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    status = spread(kernel, &arguments, first[1], first[2], &fault);
    Py_END_ALLOW_THREADS
    if (status == NO_MEMORY) return PyErr_NoMemory();
    if (status == BAD_TOKEN)
        return PyErr_Format(
            PyExc_IndexError, "token %lld is outside the vocabulary: 0 to %lld are allowed",
            (long long)fault.token, (long long)fault.last
        );
    Py_RETURN_NONE;
}

#define WRAPPER(kernel, ARGUMENTS) \
    static PyObject *call_##kernel( \
        PyObject *module, PyObject *const *given, Py_ssize_t num_given \
    ) { \
        Kernel described = { \
            .name = #kernel, .run = run_##kernel, .find_wrong = find_wrong_##kernel \
        }; \
        (void)module; \
        described.arguments = describe_##kernel(&described.num_arguments); \
        return call(&described, given, num_given); \
    }
KERNELS(WRAPPER)

#define METHOD(kernel, ARGUMENTS) \
    {#kernel, (PyCFunction)(void (*)(void))call_##kernel, METH_FASTCALL, NULL},
static PyMethodDef methods[] = {KERNELS(METHOD){NULL, NULL, 0, NULL}};

/* ((name, what torch or Python call its kind, whether None is allowed), ...) of a kernel's
   arguments. */
static PyObject *describe(const Argument *arguments, Py_ssize_t num) {
    PyObject *all = PyTuple_New(num);
    for (Py_ssize_t i = 0; all && i < num; i++) {
        PyObject *one = Py_BuildValue(
            "(ssO)", arguments[i].name, arguments[i].python_name,
            arguments[i].optional ? Py_True : Py_False
        );
        if (one)
            PyTuple_SET_ITEM(all, i, one);
        else
            Py_CLEAR(all);
    }
    return all;
}

static int add_description(
    PyObject *kernels, const char *name, const Argument *arguments, Py_ssize_t num
) {
    PyObject *description = describe(arguments, num);
    const int status = description ? PyDict_SetItemString(kernels, name, description) : -1;
    Py_XDECREF(description);
    return status;
}

static int add_kernels(PyObject *module) {
    PyObject *kernels = PyDict_New();
    Py_ssize_t num;
    int status = kernels ? 0 : -1;
#define ADD_KERNEL(kernel, ARGUMENTS) \
    if (!status) { \
        const Argument *arguments = describe_##kernel(&num); \
        status = num > MOST_ARGUMENTS ? -1 : add_description(kernels, #kernel, arguments, num); \
    }
    KERNELS(ADD_KERNEL)
    if (!status) status = PyModule_AddObjectRef(module, "KERNELS", kernels);
    Py_XDECREF(kernels);
    return status;
}

/* Without OpenMP all ranges are worked on one after the other. */
#ifdef _OPENMP
enum { HAS_THREADS = 1 };
#else
enum { HAS_THREADS = 0 };
#endif

static int add_constants(PyObject *module) {
#define ADD_CONSTANT(name) \
    if (PyModule_AddIntConstant(module, #name, name)) return -1;
    CONSTANTS(ADD_CONSTANT)
    if (PyModule_AddIntConstant(module, "HAS_THREADS", HAS_THREADS)) return -1;
    return PyModule_AddStringConstant(module, "BUILT_FROM", BUILT_FROM);
}

#define NAME JOIN(_native_, VARIANT)

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = TEXT(NAME), .m_size = -1, .m_methods = methods
};

PyMODINIT_FUNC JOIN(PyInit_, NAME)(void) {
    if (!IS_SUPPORTED)
        return PyErr_Format(PyExc_ImportError, "this processor has no " TEXT(VARIANT));
    PyObject *module = PyModule_Create(&definition);
    if (module && (add_constants(module) || add_kernels(module))) Py_CLEAR(module);
    return module;
}
