#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <marshal.h>

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "interpreter.h"

/* Private names that the multi-phase initialization needs: signals belong to the main phase, but _signal does not even
 * load without them. */
PyAPI_FUNC(PyStatus) _Py_InitializeMain(void);
extern int _PySignal_Init(int install_signal_handlers);
#if PY_VERSION_HEX >= 0x030d0000
extern PyStatus _PyCodec_InitRegistry(PyInterpreterState *interpreter);
#endif

/* A linked file begins with importlib.util.MAGIC_NUMBER and the length of what is marshalled next. */
#define HEAD 8

void (*before_main_phase)(void) = NULL;

#ifdef WITHOUT_SHA2
/* Debian's libpython3.13.a has a module _sha2 without the code that it calls; hashlib has OpenSSL's. */
PyMODINIT_FUNC PyInit__sha2(void)
{
	return PyErr_Format(PyExc_ImportError, "no _sha2 in this program");
}
#endif

static void check(PyStatus status)
{
	if (PyStatus_Exception(status))
		Py_ExitStatusException(status);
}

static void append(PyWideStringList *list, const char *path)
{
	wchar_t *wide = Py_DecodeLocale(path, NULL);

	if (wide == NULL)
		fail("start", "out of memory");
	check(PyWideStringList_Append(list, wide));
	PyMem_RawFree(wide);
}

void set_places(PyConfig *config, const struct install *install)
{
	const PyWideStringList nothing = { 0, NULL };
	char paths[sizeof(install->paths)];
	char *rest = NULL;

	/* sys.path: the standard library first, so that nothing installed beside us stands in for a part of it. */
	config->module_search_paths_set = 1;
	config->module_search_paths = nothing;
	append(&config->module_search_paths, PYTHON_STDLIB);
	append(&config->module_search_paths, PYTHON_DYNLOAD);
	strcpy(paths, install->paths);
	for (char *path = strtok_r(paths, "\n", &rest); path != NULL; path = strtok_r(NULL, "\n", &rest))
		append(&config->module_search_paths, path);
	/* Given, not found: finding them means looking for landmarks all over the disk. */
	check(PyConfig_SetBytesString(config, &config->executable, ""));
	check(PyConfig_SetBytesString(config, &config->base_executable, ""));
	check(PyConfig_SetBytesString(config, &config->prefix, install->prefix));
	check(PyConfig_SetBytesString(config, &config->base_prefix, install->prefix));
	check(PyConfig_SetBytesString(config, &config->exec_prefix, install->prefix));
	check(PyConfig_SetBytesString(config, &config->base_exec_prefix, install->prefix));
}

#if PY_VERSION_HEX < 0x030d0000
/* codecs.lookup() before `encodings` is there. */
static PyObject *search_codec(PyObject *self, PyObject *name)
{
	PyObject *encodings = PyImport_ImportModule("encodings");

	(void)self;
	return encodings == NULL ? NULL : PyObject_CallMethod(encodings, "search_function", "O", name);
}

static PyMethodDef SEARCH = { "search", search_codec, METH_O, "What `encodings` registers when it is imported." };
#endif

/* Every UnicodeError looks for its handler in the registry of codecs. That is filled in the main phase (3.13, which does
 * it again then) or at the first question (before), and wants to import `encodings`, which has to wait. */
static bool fill_codecs(void)
{
	PyObject *modules = PyImport_GetModuleDict(), *nothing = PyModule_New("encodings");

	if (nothing == NULL || PyDict_SetItemString(modules, "encodings", nothing) < 0)
		return false;
#if PY_VERSION_HEX >= 0x030d0000
	check(_PyCodec_InitRegistry(PyInterpreterState_Get()));
#else
	if (PyCodec_LookupError("strict") == NULL || PyCodec_Register(PyCFunction_New(&SEARCH, NULL)) < 0)
		return false;
#endif
	return PyDict_DelItemString(modules, "encodings") == 0;
}

static void need_standard_library(void)
{
	if (access(PYTHON_STDLIB "/encodings/__init__.py", R_OK) != 0)
		fail("no standard library of Python " PYTHON_VERSION " in " PYTHON_STDLIB, "install it, or install ocirun again");
}

void start_python(const struct install *install, int argc, char **argv, bool core_only)
{
	PyPreConfig before;
	PyConfig config;

	if (!core_only)
		need_standard_library();
	PyPreConfig_InitIsolatedConfig(&before);
	before.utf8_mode = 1;
	check(Py_PreInitialize(&before));
	PyConfig_InitIsolatedConfig(&config);
	config.site_import = 0;
	config.write_bytecode = 0;
	config.install_signal_handlers = 1;
	config._init_main = !core_only;
	set_places(&config, install);
	check(PyConfig_SetBytesString(&config, &config.program_name, argv[0]));
	config.parse_argv = 0;
	check(PyConfig_SetBytesArgv(&config, argc, argv));
	check(Py_InitializeFromConfig(&config));
	PyConfig_Clear(&config);
	(void)PyGC_Disable(); /* no command lives long enough to gain by it */
	if (!core_only)
		return;
	set_arguments(argc, argv);
	if (_PySignal_Init(1) != 0 || !fill_codecs()) {
		PyErr_Print();
		fail("start", "the installation is broken");
	}
}

/* The main phase, for the linker. */
static PyObject *finish(PyObject *self, PyObject *arguments)
{
	PyStatus status;

	(void)self;
	(void)arguments;
	if (access(PYTHON_STDLIB "/encodings/__init__.py", R_OK) != 0)
		return PyErr_Format(PyExc_ImportError, "Python " PYTHON_VERSION "'s standard library is gone from %s",
				    PYTHON_STDLIB);
	if (before_main_phase != NULL)
		before_main_phase();
	status = _Py_InitializeMain();
	if (PyStatus_Exception(status))
		return PyErr_Format(PyExc_ImportError, "initialize Python: %s", status.err_msg ? status.err_msg : "failed");
	Py_RETURN_NONE;
}

static PyMethodDef FINISH = { "finish", finish, METH_NOARGS, "The main phase of the initialization." };

const void *map_file(const char *path, size_t *size)
{
	const void *data = MAP_FAILED;
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	if (fstat(fd, &status) == 0 && status.st_size > HEAD) {
		*size = (size_t)status.st_size;
		data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	}
	close(fd);
	return data == MAP_FAILED ? NULL : data;
}

PyObject *directories_of(const struct install *install)
{
	PyObject *text = PyUnicode_DecodeUTF8(install->paths, (Py_ssize_t)strlen(install->paths), "surrogateescape");

	return text == NULL ? NULL : PyUnicode_Splitlines(text, 0);
}

/* What main() of exec.c's CODE does, after the core phase. */
bool link_modules(PyObject *directories, const char *data, size_t size, bool keep)
{
	PyObject *globals = PyDict_New(), *loaded, *tail;
	uint32_t length;

	memcpy(&length, data + HEAD - sizeof(length), sizeof(length));
	if (length > size - HEAD) {
		PyErr_SetString(PyExc_ImportError, "the linked file is cut off");
		return false;
	}
	loaded = PyMarshal_ReadObjectFromString(data + HEAD, (Py_ssize_t)length);
	if (globals == NULL || directories == NULL || loaded == NULL || !PyTuple_Check(loaded) || PyTuple_GET_SIZE(loaded) != 2)
		return false;
	PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins());
	PyDict_SetItemString(globals, "content", PyTuple_GET_ITEM(loaded, 1));
	PyDict_SetItemString(globals, "directories", directories);
	data += HEAD + length;
	size -= HEAD + length;
	if (keep)
		tail = PyMemoryView_FromObject(PyBytes_FromStringAndSize(data, (Py_ssize_t)size));
	else
		tail = PyMemoryView_FromMemory((char *)(uintptr_t)data, (Py_ssize_t)size, PyBUF_READ);
	PyDict_SetItemString(globals, "tail", tail);
	PyDict_SetItemString(globals, "finish", PyCFunction_New(&FINISH, NULL));
	return PyEval_EvalCode(PyTuple_GET_ITEM(loaded, 0), globals, globals) != NULL;
}

void set_arguments(int argc, char **argv)
{
	PyObject *list = PyList_New(argc);

	for (int i = 0; list != NULL && i < argc; i++)
		PyList_SET_ITEM(list, i, PyUnicode_DecodeUTF8(argv[i], (Py_ssize_t)strlen(argv[i]), "surrogateescape"));
	if (list == NULL || PyErr_Occurred() || PySys_SetObject("argv", list) < 0)
		fail("start", "out of memory");
}

void run_command(bool blocked)
{
	PyObject *cli = PyImport_ImportModule("ocirun.cli");

	if (cli != NULL)
		(void)PyObject_CallMethod(cli, "main", "i", blocked); /* does not return */
	PyErr_Print();
	fail("start", "the installation is broken");
}
