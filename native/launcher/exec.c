/* ocirun, the installed command, where Python cannot be linked into it (embed.c): finds the interpreter and becomes
 *
 *     pythonX.Y -I -S -X utf8 -c CODE DIRECTORIES VERB BLOCKED NAME ARGUMENTS...
 *
 * Isolated (-I: no PYTHON* variables, no current directory in sys.path) and without `site` (-S), which would read
 * every .pth file of the installation at each start. A script that calls itself python (pyenv's shims) is passed
 * over: it costs ten times our whole start, and may be another version tomorrow. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "install.h"

/* sys.argv is ["-c", DIRECTORIES, VERB, BLOCKED, NAME, ...]; the program's own arguments are what it leaves. Our directories
 * come last in sys.path, so that nothing installed there stands in for a module of the standard library. The linked
 * file (native/link.py) is for one version of the bytecode, which it begins with. */
static const char CODE[] =
	"import gc, sys\n"
	"gc.disable()\n"
	"directories, verb, blocked = sys.argv[1:4]\n"
	"directories = directories.split('\\n')\n"
	"sys.path += directories\n"
	"del sys.argv[:4]\n"
	"if verb:\n"
	"    from _frozen_importlib_external import MAGIC_NUMBER\n"
	"    try:\n"
	"        with open(f'{directories[0]}/ocirun/linked/{verb}', 'rb', 0) as file:\n"
	"            data = file.read()\n"
	"    except OSError:\n"
	"        data = b''\n"
	"    if data.startswith(MAGIC_NUMBER):\n"
	"        from marshal import loads\n"
	"        begin = len(MAGIC_NUMBER) + 4\n"
	"        end = begin + int.from_bytes(data[begin - 4:begin], 'little')\n"
	"        data = memoryview(data)\n"
	"        code, content = loads(data[begin:end])\n"
	"        exec(code, {'content': content, 'tail': data[end:], 'directories': directories, 'finish': None})\n"
	"from ocirun.cli import main\n"
	"main(bool(blocked))\n";

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

int main(int argc, char **argv)
{
	static const char *const options[] = { "-I", "-S", "-X", "utf8", "-c" };
	const size_t fixed = sizeof(options) / sizeof(options[0]);
	static struct install install;
	char python[PATH_MAX];
	char **words = calloc(fixed + (size_t)argc + 6, sizeof(*words));
	const char *verb = VERBS[find_verb(argc, argv)];
	size_t n = 0;

	find_install(&install, argv[0]);
	if (words == NULL)
		fail("start", strerror(errno));
	if (!find_python(install.prefix, install.parent, python))
		fail("no CPython " PYTHON_VERSION " found (pyvenv.cfg, bin/" PYTHON ", /usr/bin, /usr/local/bin)",
		     "install it, or install ocirun again");
	words[n++] = python;
	for (size_t i = 0; i < fixed; i++)
		words[n++] = (char *)(unsigned long)options[i];
	words[n++] = (char *)(unsigned long)CODE;
	words[n++] = install.paths;
	words[n++] = (char *)(unsigned long)(verb != NULL ? verb : "");
	words[n++] = (char *)(unsigned long)(block_interrupt() ? "blocked" : "");
	for (int i = 0; i < argc; i++)
		words[n++] = argv[i];
	execv(python, words);
	fail(python, strerror(errno));
}
