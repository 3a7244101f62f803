/* ocirun, the installed command: finds the interpreter and the package and becomes
 *
 *     pythonX.Y -I -S -X utf8 -c CODE DIRECTORIES VERB NAME ARGUMENTS...
 *
 * Isolated (-I: no PYTHON* variables, no current directory in sys.path) and without `site` (-S), which would read
 * every .pth file of the installation at each start. Everything is found from the place of this program itself:
 *
 *     PREFIX/bin/ocirun                            this program
 *     PREFIX/lib/pythonX.Y/site-packages/ocirun    the package (Debian's own prefix says dist-packages), or
 *     PREFIX/../ocirun                             a checkout's
 *     PREFIX/pyvenv.cfg                            names the interpreter of a virtual environment
 *
 * X.Y is what the extension modules were built for. A script that calls itself python (pyenv's shims) is passed
 * over: it costs ten times our whole start, and may be another version tomorrow. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef PYTHON_VERSION
#error "PYTHON_VERSION is the X.Y of the interpreter that the extension modules are built for"
#endif

#define PYTHON "python" PYTHON_VERSION

/* sys.argv is ["-c", DIRECTORIES, VERB, NAME, ...]; the program's own arguments are what it leaves. Our directories
 * come last in sys.path, so that nothing installed there stands in for a module of the standard library. The linked
 * file (native/link.py) is for one version of the bytecode, which it begins with. */
static const char CODE[] = "import sys\n"
			   "directories, verb = sys.argv[1:3]\n"
			   "directories = directories.split('\\n')\n"
			   "sys.path += directories\n"
			   "del sys.argv[:3]\n"
			   "if verb:\n"
			   "    from _frozen_importlib_external import MAGIC_NUMBER\n"
			   "    try:\n"
			   "        with open(f'{directories[0]}/ocirun/linked/{verb}', 'rb', 0) as file:\n"
			   "            data = file.read()\n"
			   "    except OSError:\n"
			   "        data = b''\n"
			   "    if data.startswith(MAGIC_NUMBER):\n"
			   "        from marshal import loads\n"
			   "        code, modules = loads(memoryview(data)[len(MAGIC_NUMBER):])\n"
			   "        exec(code, {'modules': modules, 'directory': directories[0]})\n"
			   "from ocirun.cli import main\n"
			   "main()\n";

/* The commands whose modules are linked. */
static const char *const VERBS[] = { "create", "delete", "exec", "kill", "list", "ps", "run", "start", "state" };

static const char *name;

static void fail(const char *what, const char *why)
{
	(void)dprintf(STDERR_FILENO, "%s: %s: %s\n", name, what, why);
	_exit(1);
}

/* "DIRECTORY/REST" in a buffer of PATH_MAX; false when it does not fit. */
static bool join(char *buffer, const char *directory, const char *rest)
{
	int length = snprintf(buffer, PATH_MAX, "%s/%s", directory, rest);
	return length > 0 && length < PATH_MAX;
}

/* Is this a native program that we may run? */
static bool is_program(const char *path)
{
	char magic[4] = "";
	struct stat status;
	if (access(path, X_OK) != 0)
		return false;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return false;
	bool elf = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && read(fd, magic, sizeof(magic)) == (ssize_t)sizeof(magic) &&
		   memcmp(magic, "\177ELF", sizeof(magic)) == 0;
	close(fd);
	return elf;
}

/* The value of `key = value` in the text of a pyvenv.cfg, into buffer. */
static bool setting(const char *text, const char *key, char *buffer)
{
	size_t key_length = strlen(key);
	for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, key_length) != 0)
			continue;
		const char *value = line + key_length;
		value += strspn(value, " \t");
		if (*value != '=')
			continue;
		value++;
		value += strspn(value, " \t");
		size_t length = strcspn(value, "\r\n");
		if (length == 0 || length >= PATH_MAX)
			return false;
		memcpy(buffer, value, length);
		buffer[length] = '\0';
		return true;
	}
	return false;
}

/* The interpreter that PREFIX/pyvenv.cfg names (venv writes both keys, older ones and virtualenv only `home`). */
static bool from_pyvenv(const char *prefix, char *python)
{
	char path[PATH_MAX], text[4096];
	if (!join(path, prefix, "pyvenv.cfg"))
		return false;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';
	if (setting(text, "executable", python) && is_program(python))
		return true;
	return setting(text, "home", path) && join(python, path, PYTHON) && is_program(python);
}

static bool find_python(const char *prefix, const char *parent, char *python)
{
	char directory[PATH_MAX];
	if (from_pyvenv(prefix, python))
		return true;
	if (join(directory, parent, ".venv") && from_pyvenv(directory, python))
		return true;
	if (join(python, prefix, "bin/" PYTHON) && is_program(python))
		return true;
	static const char *const usual[] = { "/usr/bin/" PYTHON, "/usr/local/bin/" PYTHON };
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
		strcpy(python, usual[i]);
		if (is_program(python))
			return true;
	}
	return false;
}

/* What goes to the end of sys.path: the directory of the package first, then where the packages that it needs may
 * be, one a line. False when the package is nowhere. */
static bool find_packages(const char *prefix, const char *parent, char *paths, size_t size)
{
	char path[PATH_MAX], site[3][PATH_MAX];
	if (!join(site[0], prefix, "lib/" PYTHON "/site-packages") || !join(site[1], prefix, "lib/" PYTHON "/dist-packages") ||
	    !join(site[2], parent, ".venv/lib/" PYTHON "/site-packages"))
		return false;
	const char *const places[] = { site[0], site[1], parent };
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (!join(path, places[i], "ocirun/cli/__init__.py") || access(path, R_OK) != 0)
			continue;
		int length = i < 2 ? snprintf(paths, size, "%s\n/usr/lib/python3/dist-packages", places[i])
				   : snprintf(paths, size, "%s\n%s\n%s\n/usr/lib/python3/dist-packages", places[i], site[0], site[2]);
		return length > 0 && (size_t)length < size;
	}
	return false;
}

/* A descriptor 0, 1 or 2 that is closed would be given to the first file opened: fill them, as Go's runtime does. */
static void fill_stdio(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

/* The command among the arguments. A flag's value that looks like one costs time and nothing else. */
static const char *find_verb(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		for (size_t verb = 0; verb < sizeof(VERBS) / sizeof(VERBS[0]); verb++)
			if (strcmp(argv[i], VERBS[verb]) == 0)
				return VERBS[verb];
	return "";
}

/* Cut the last component off. */
static bool to_parent(char *path)
{
	char *slash = strrchr(path, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	return true;
}

int main(int argc, char **argv)
{
	char prefix[PATH_MAX], parent[PATH_MAX], python[PATH_MAX], paths[4 * PATH_MAX];

	name = argc > 0 ? argv[0] : "ocirun";
	fill_stdio();
	ssize_t length = readlink("/proc/self/exe", prefix, sizeof(prefix) - 1);
	if (length <= 0)
		fail("read /proc/self/exe", strerror(errno));
	prefix[length] = '\0';
	if (!to_parent(prefix) || !to_parent(prefix))
		fail(prefix, "not in the bin directory of an installation");
	strcpy(parent, prefix);
	if (!to_parent(parent))
		parent[0] = '\0';
	if (!find_packages(prefix, parent, paths, sizeof(paths)))
		fail("no package ocirun for Python " PYTHON_VERSION " beside this program; it was installed in", prefix);
	if (!find_python(prefix, parent, python))
		fail("no CPython " PYTHON_VERSION " found (pyvenv.cfg, bin/" PYTHON ", /usr/bin, /usr/local/bin)",
		     "install it, or install ocirun again");

	static const char *const options[] = { "-I", "-S", "-X", "utf8", "-c" };
	const size_t fixed = sizeof(options) / sizeof(options[0]);
	char **words = calloc(fixed + (size_t)argc + 6, sizeof(*words));
	if (words == NULL)
		fail("start", strerror(errno));
	size_t n = 0;
	words[n++] = python;
	for (size_t i = 0; i < fixed; i++)
		words[n++] = (char *)(unsigned long)options[i];
	words[n++] = (char *)(unsigned long)CODE;
	words[n++] = paths;
	words[n++] = (char *)(unsigned long)find_verb(argc, argv);
	words[n++] = (char *)(unsigned long)name;
	for (int i = 1; i < argc; i++)
		words[n++] = argv[i];
	execv(python, words);
	fail(python, strerror(errno));
}
