/* error.c: filling in the caller's aul_error. See common.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "disk.h"
#include "format.h"

static void write_text(aul_error *error, int code, const char *format, va_list arguments) {
    memset(error, 0, sizeof *error);
    error->code = code;
    vsnprintf(error->text, sizeof error->text, format, arguments);
}

int aul_fail(aul_error *error, int code, const char *format, ...) {
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        write_text(error, code, format, arguments);
        va_end(arguments);
    }
    return code;
}

int aul_fail_at(aul_error *error, int code, const char *file, u64 offset, u64 lsn,
                const char *format, ...) {
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        write_text(error, code, format, arguments);
        va_end(arguments);
        snprintf(error->file, sizeof error->file, "%s", file);
        error->offset = offset;
        error->lsn = lsn;
    }
    return code;
}

int aul_fail_os(aul_error *error, int os_errno, const char *what, const char *file) {
    int code = AUL_IO;
    if (aul_disk_is_full(os_errno)) code = AUL_DISK_FULL;
    if (os_errno == EACCES || os_errno == EPERM || os_errno == EROFS) code = AUL_ACCESS;
    if (os_errno == ENOMEM) code = AUL_NO_MEMORY;
    aul_fail(error, code, "%s failed: %s", what, strerror(os_errno));
    if (error) {
        error->os_errno = os_errno;
        snprintf(error->file, sizeof error->file, "%s", file ? file : "");
    }
    return code;
}

int aul_check_features(u64 required, const char *what, aul_error *error) {
    static const char *const names[] = {AUL_FEATURE_NAMES};
    u64 unknown = required & ~AUL_FEATURES_KNOWN;
    char list[200] = "";
    size_t used = 0;
    if (!unknown) return AUL_OK;
    for (unsigned bit = 0; bit < 64 && used < sizeof list; bit++) {
        const char *comma = used ? ", " : "";
        if (!(unknown >> bit & 1)) continue;
        if (bit < sizeof names / sizeof *names)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", comma, names[bit]);
        else
            used += (size_t)snprintf(list + used, sizeof list - used, "%sfeature %u", comma, bit);
    }
    return aul_fail(error, AUL_FORMAT,
                    "%s needs what this aurolog does not know (%s): use a newer aurolog", what,
                    list);
}

int aul_fail_bug(aul_error *error, const char *file, int line, const char *what) {
#ifdef AUL_TEST_BUILD
    fprintf(stderr, "aurolog: %s:%d: broken invariant: %s\n", file, line, what);
    abort();
#endif
    return aul_fail(error, AUL_BUG, "broken invariant at %s:%d: %s", file, line, what);
}
