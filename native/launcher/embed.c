/* ocirun, the installed command, with the interpreter in it.
 *
 * Of the six milliseconds that `python3 -I -S` takes to start, three go into what a linked command (native/link.py) has
 * no use for: the path-based importer, the codecs from disk, the standard streams. CPython can be initialized in two
 * phases (PEP 587, "Multi-Phase Initialization"): after the core phase code runs, and only built-in and frozen modules
 * can be imported. Here a linked command runs after the core phase alone; the first import of something that is not
 * linked does the main phase then, and goes on (`finish` of the linker). Everything else starts with both.
 *
 * The interpreter is isolated (no PYTHON* variables, no current directory in sys.path), in UTF-8 mode, without `site`.
 * Its standard library is where the build found it, which is the only thing outside of the installation's prefix. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <marshal.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "install.h"

#if !defined(PYTHON_STDLIB) || !defined(PYTHON_DYNLOAD)
#error "PYTHON_STDLIB and PYTHON_DYNLOAD are the directories of the standard library and of its extension modules"
#endif

/* Private names that the multi-phase initialization needs: signals belong to the main phase, but _signal does not even
 * load without them. */
PyAPI_FUNC(PyStatus) _Py_InitializeMain(void);
extern int _PySignal_Init(int install_signal_handlers);
#if PY_VERSION_HEX >= 0x030d0000
extern PyStatus _PyCodec_InitRegistry(PyInterpreterState *interpreter);
#endif

/* A linked file begins with importlib.util.MAGIC_NUMBER and the length of what is marshalled next. */
#define HEAD 8

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

/* sys.path: the standard library first, so that nothing installed beside us stands in for a part of it. */
static void set_paths(PyConfig *config, const struct install *install)
{
	char paths[sizeof(install->paths)];
	char *rest = NULL;

	config->module_search_paths_set = 1;
	append(&config->module_search_paths, PYTHON_STDLIB);
	append(&config->module_search_paths, PYTHON_DYNLOAD);
	strcpy(paths, install->paths);
	for (char *path = strtok_r(paths, "\n", &rest); path != NULL; path = strtok_r(NULL, "\n", &rest))
		append(&config->module_search_paths, path);
}

static void initialize(const struct install *install, int argc, char **argv, bool core_only)
{
	PyPreConfig before;
	PyConfig config;

	PyPreConfig_InitIsolatedConfig(&before);
	before.utf8_mode = 1;
	check(Py_PreInitialize(&before));
	PyConfig_InitIsolatedConfig(&config);
	config.site_import = 0;
	config.write_bytecode = 0;
	config.install_signal_handlers = 1;
	config._init_main = !core_only;
	set_paths(&config, install);
	/* Given, not found: finding them means looking for landmarks all over the disk. */
	check(PyConfig_SetBytesString(&config, &config.program_name, argv[0]));
	check(PyConfig_SetBytesString(&config, &config.executable, ""));
	check(PyConfig_SetBytesString(&config, &config.base_executable, ""));
	check(PyConfig_SetBytesString(&config, &config.prefix, install->prefix));
	check(PyConfig_SetBytesString(&config, &config.base_prefix, install->prefix));
	check(PyConfig_SetBytesString(&config, &config.exec_prefix, install->prefix));
	check(PyConfig_SetBytesString(&config, &config.base_exec_prefix, install->prefix));
	config.parse_argv = 0;
	check(PyConfig_SetBytesArgv(&config, argc, argv));
	check(Py_InitializeFromConfig(&config));
	PyConfig_Clear(&config);
	(void)PyGC_Disable(); /* no command lives long enough to gain by it */
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

/* The main phase, for the linker. */
static PyObject *finish(PyObject *self, PyObject *arguments)
{
	PyStatus status;

	(void)self;
	(void)arguments;
	if (access(PYTHON_STDLIB "/encodings/__init__.py", R_OK) != 0)
		return PyErr_Format(PyExc_ImportError, "Python " PYTHON_VERSION "'s standard library is gone from %s",
				    PYTHON_STDLIB);
	status = _Py_InitializeMain();
	if (PyStatus_Exception(status))
		return PyErr_Format(PyExc_ImportError, "initialize Python: %s", status.err_msg ? status.err_msg : "failed");
	Py_RETURN_NONE;
}

static PyMethodDef FINISH = { "finish", finish, METH_NOARGS, "The main phase of the initialization." };

/* The linked file of the command, mapped; NULL where there is none. The build made it for the interpreter that is in
 * here: it begins with the bytecode's version for exec.c, which may find another one. */
static const char *open_linked(const struct install *install, size_t *size)
{
	const size_t length = strcspn(install->paths, "\n");
	char path[5 * PATH_MAX];
	const char *data = MAP_FAILED;
	struct stat status;
	int fd;

	snprintf(path, sizeof(path), "%.*s/ocirun/linked/%s", (int)length, install->paths, install->verb);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &status) == 0 && status.st_size > HEAD) {
		*size = (size_t)status.st_size;
		data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	}
	close(fd);
	return data == MAP_FAILED ? NULL : data;
}

/* What main() of exec.c's CODE does, after the core phase. */
static PyObject *link_modules(const struct install *install, const char *data, size_t size)
{
	PyObject *globals = PyDict_New(), *loaded, *value;
	uint32_t length;

	memcpy(&length, data + HEAD - sizeof(length), sizeof(length));
	if (length > size - HEAD)
		return PyErr_Format(PyExc_ImportError, "the linked file of %s is cut off", install->verb);
	loaded = PyMarshal_ReadObjectFromString(data + HEAD, (Py_ssize_t)length);
	if (globals == NULL || loaded == NULL || !PyTuple_Check(loaded) || PyTuple_GET_SIZE(loaded) != 2)
		return NULL;
	PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins());
	PyDict_SetItemString(globals, "content", PyTuple_GET_ITEM(loaded, 1));
	value = PyUnicode_DecodeUTF8(install->paths, (Py_ssize_t)strlen(install->paths), "surrogateescape");
	PyDict_SetItemString(globals, "directories", PyUnicode_Splitlines(value, 0));
	value = PyMemoryView_FromMemory((char *)(uintptr_t)data + HEAD + length, (Py_ssize_t)(size - HEAD - length), PyBUF_READ);
	PyDict_SetItemString(globals, "tail", value);
	PyDict_SetItemString(globals, "finish", PyCFunction_New(&FINISH, NULL));
	return PyEval_EvalCode(PyTuple_GET_ITEM(loaded, 0), globals, globals);
}

/* sys.argv, which the main phase would set. */
static void set_arguments(int argc, char **argv)
{
	PyObject *list = PyList_New(argc);

	for (int i = 0; list != NULL && i < argc; i++)
		PyList_SET_ITEM(list, i, PyUnicode_DecodeUTF8(argv[i], (Py_ssize_t)strlen(argv[i]), "surrogateescape"));
	if (list == NULL || PyErr_Occurred() || PySys_SetObject("argv", list) < 0)
		fail("start", "out of memory");
}

int main(int argc, char **argv)
{
	static char *no_arguments[] = { "ocirun", NULL };
	static struct install install;
	const char *linked = NULL;
	PyObject *cli = NULL;
	size_t size = 0;
	const bool blocked = block_interrupt();

	if (argc < 1) {
		argc = 1;
		argv = no_arguments;
	}
	find_install(&install, argc, argv);
	if (install.verb[0] != '\0')
		linked = open_linked(&install, &size);
	if (linked == NULL && access(PYTHON_STDLIB "/encodings/__init__.py", R_OK) != 0)
		fail("no standard library of Python " PYTHON_VERSION " in " PYTHON_STDLIB, "install it, or install ocirun again");
	initialize(&install, argc, argv, linked != NULL);
	if (linked != NULL) {
		set_arguments(argc, argv);
		if (_PySignal_Init(1) == 0 && fill_codecs() && link_modules(&install, linked, size) != NULL)
			cli = PyImport_ImportModule("ocirun.cli");
	} else {
		cli = PyImport_ImportModule("ocirun.cli");
	}
	if (cli != NULL)
		(void)PyObject_CallMethod(cli, "main", "i", blocked); /* does not return */
	PyErr_Print();
	fail("start", "the installation is broken");
}
