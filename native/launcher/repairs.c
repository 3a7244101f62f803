/* What a restored interpreter has to be told, because it was initialized in another process (dump.c says how).
 *
 * Each repair names what of CPython it mends, and in which versions. Words of memory that a repair writes are made zero
 * before the dump (`forget`): whatever else is true of one process only is found by the comparison of two dumps, so this
 * list is complete for the versions that the build accepts (EMBEDDABLE in native/build.py). What would make it longer:
 * 3.14 knows where the stack of its thread ends (_PyThreadStateImpl.c_stack_top and others), which
 * _Py_InitializeRecursionLimits() would mend. */
#define PY_SSIZE_T_CLEAN
#define Py_BUILD_CORE 1
#include <Python.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_pystate.h>
#include <internal/pycore_runtime.h>

#include <signal.h>
#include <string.h>

#include "interpreter.h"
#include "snapshot.h"

/* Tests build the program without one of the repairs, to see what it is for. */
#ifndef WITHOUT_REPAIR
#define WITHOUT_REPAIR ""
#endif

#if PY_VERSION_HEX >= 0x030c0000
#define TSS_KEY _PyRuntime.autoTSSkey
#else
#define TSS_KEY _PyRuntime.gilstate.autoTSSkey
#endif

extern char **environ;

struct process {
	const struct install *install;
	int argc;
	char **argv;
};

PyObject *directories;
static struct process process;
static PyThreadState *thread; /* the main one */

/* _PyRuntime.main_thread, and thread_id and native_thread_id of its PyThreadState: who may set signal handlers, and whom
 * threading and faulthandler take for the main thread. */
static void forget_thread(void)
{
	_PyRuntime.main_thread = 0;
	thread->thread_id = 0;
	thread->native_thread_id = 0;
}

static bool repair_thread(const struct process *now)
{
	(void)now;
	_PyRuntime.main_thread = PyThread_get_thread_ident();
	thread->thread_id = PyThread_get_thread_ident();
	thread->native_thread_id = PyThread_get_thread_native_id();
	return true;
}

/* autoTSSkey, by which PyGILState_Ensure() (cffi's callbacks, ctypes) finds the state of its thread: libc gives the key,
 * and keeps the value. From 3.12 on the current state is in thread-local storage too, which is not part of the dump. */
static void forget_storage(void)
{
	memset(&TSS_KEY, 0, sizeof(TSS_KEY));
}

static bool repair_storage(const struct process *now)
{
	(void)now;
#if PY_VERSION_HEX >= 0x030c0000
	_Py_tss_tstate = thread;
#endif
	return PyThread_tss_create(&TSS_KEY) == 0 && PyThread_tss_set(&TSS_KEY, thread) == 0;
}

/* A module of the snapshot, NULL where it is not in there. */
static PyObject *loaded(const char *module)
{
	return PyDict_GetItemString(PyImport_GetModuleDict(), module);
}

/* posix.environ, made when `posix` was (convertenviron() in posixmodule.c): filled in place, os.environ is made of it. */
static bool repair_environment(const struct process *now)
{
	PyObject *module = loaded("posix"), *names;

	(void)now;
	if (module == NULL)
		return true;
	names = PyObject_GetAttrString(module, "environ");
	if (names == NULL)
		return false;
	PyDict_Clear(names);
	for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
		const char *sign = strchr(*entry, '=');
		if (sign == NULL)
			continue;
		PyObject *name = PyBytes_FromStringAndSize(*entry, sign - *entry), *value = PyBytes_FromString(sign + 1);
		if (name == NULL || value == NULL || PyDict_SetDefault(names, name, value) == NULL)
			return false;
		Py_DECREF(name);
		Py_DECREF(value);
	}
	Py_DECREF(names);
	return true;
}

static bool set_handler(int number, const char *handler)
{
	PyObject *module = loaded("_signal");
	PyObject *value = PyObject_GetAttrString(module, handler);
	PyObject *old = value == NULL ? NULL : PyObject_CallMethod(module, "signal", "iO", number, value);

	Py_XDECREF(value);
	Py_XDECREF(old);
	return old != NULL;
}

/* Handlers[] of signalmodule.c, filled when `_signal` is loaded, here with all signals at their default, and the process'
 * own table, which exec has emptied but for what is ignored: what this process has inherited, and what Python adds
 * (signal_install_handlers()). */
static bool repair_signals(const struct process *now)
{
	bool interruptible = true;

	(void)now;
	for (int number = 1; number < NSIG; number++) {
		struct sigaction action;
		if (number == SIGPIPE || number == SIGXFSZ || sigaction(number, NULL, &action) < 0)
			continue;
		if (action.sa_handler != SIG_IGN)
			continue;
		if (number == SIGINT)
			interruptible = false;
		if (!set_handler(number, "SIG_IGN"))
			return false;
	}
	PyOS_setsig(SIGPIPE, SIG_IGN);
	PyOS_setsig(SIGXFSZ, SIG_IGN);
	return !interruptible || set_handler(SIGINT, "default_int_handler");
}

/* sys.argv */
static bool repair_arguments(const struct process *now)
{
	set_arguments(now->argc, now->argv);
	return true;
}

/* Where the installation is: the linker's directories, and the place of our package, which the modules ask for that need
 * it. Both are empty in the dump: it may be installed anywhere, and moved. */
static bool repair_places(const struct process *now)
{
	const size_t length = strcspn(now->install->paths, "\n");
	PyObject *package = loaded("ocirun"), *lines = directories_of(now->install), *path, *text;
	char place[sizeof(now->install->paths)];

	memcpy(place, now->install->paths, length);
	strcpy(place + length, "/ocirun");
	path = package == NULL ? NULL : PyObject_GetAttrString(package, "__path__");
	text = PyUnicode_DecodeUTF8(place, (Py_ssize_t)strlen(place), "surrogateescape");
	if (lines == NULL || path == NULL || text == NULL)
		return false;
	return PyList_SetSlice(directories, 0, PyList_GET_SIZE(directories), lines) == 0 && PyList_Append(path, text) == 0;
}

static const struct repair {
	const char *name;
	void (*forget)(void); /* NULL: it has no words of its own */
	bool (*mend)(const struct process *now);
} REPAIRS[] = {
	{ "thread", forget_thread, repair_thread },
	{ "storage", forget_storage, repair_storage },
	{ "environment", NULL, repair_environment },
	{ "signals", NULL, repair_signals },
	{ "arguments", NULL, repair_arguments },
	{ "places", NULL, repair_places },
};

#define REPAIR_COUNT (sizeof(REPAIRS) / sizeof(REPAIRS[0]))

static bool left_out(const struct repair *repair)
{
	return strcmp(repair->name, WITHOUT_REPAIR) == 0;
}

/* The main phase is executed by few commands, with the configuration of the interpreter (_PyConfig_Copy() of what
 * initialized it): it sets sys.path, sys.prefix, sys.argv. `time` has asked for the time zone when it was loaded. */
static void repair_main_phase(void)
{
	PyConfig *config = (PyConfig *)(uintptr_t)_Py_GetConfig();
	PyObject *zone;

	set_places(config, process.install);
	if (PyStatus_Exception(PyConfig_SetBytesString(config, &config->program_name, process.argv[0])) ||
	    PyStatus_Exception(PyConfig_SetBytesArgv(config, process.argc, process.argv)) ||
	    PyStatus_Exception(PyConfig_SetWideStringList(config, &config->orig_argv, config->argv.length, config->argv.items)))
		fail("start", "out of memory");
	zone = loaded("time") == NULL ? NULL : PyObject_CallMethod(loaded("time"), "tzset", NULL);
	Py_XDECREF(zone);
	PyErr_Clear();
}

void forget_process(void)
{
	before_main_phase = strcmp(WITHOUT_REPAIR, "main phase") == 0 ? NULL : repair_main_phase;
	thread = PyThreadState_Get();
	/* What frames have left behind that are gone; from 3.12 on there is the address of a place on the stack in it. */
	memset(thread->datastack_top, 0, (size_t)((char *)thread->datastack_limit - (char *)thread->datastack_top));
	for (size_t i = 0; i < REPAIR_COUNT; i++)
		if (REPAIRS[i].forget != NULL && !left_out(&REPAIRS[i]))
			REPAIRS[i].forget();
}

void repair_process(const struct install *install, int argc, char **argv)
{
	process = (struct process){ install, argc, argv };
	for (size_t i = 0; i < REPAIR_COUNT; i++) {
		if (left_out(&REPAIRS[i]) || REPAIRS[i].mend(&process))
			continue;
		PyErr_Print();
		fail("start: repair the snapshot", REPAIRS[i].name);
	}
}
