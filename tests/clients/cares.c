/* Looks a name up as programs with c-ares do, and prints its addresses, one a line: cares NAME */
#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>

static int result;

static void done(void *argument, int status, int timeouts, struct ares_addrinfo *found)
{
    (void)argument;
    (void)timeouts;
    if (status != ARES_SUCCESS) {
        printf("%s\n", status == ARES_ENOTFOUND ? "no such name" : ares_strerror(status));
        result = 1;
        return;
    }
    for (struct ares_addrinfo_node *one = found->nodes; one; one = one->ai_next) {
        char text[INET6_ADDRSTRLEN];
        const void *address = one->ai_family == AF_INET
            ? (const void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
            : (const void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
        printf("%s\n", inet_ntop(one->ai_family, address, text, sizeof text));
    }
    ares_freeaddrinfo(found);
}

int main(int count, char **words)
{
    ares_channel channel;
    if (count != 2 || ares_library_init(ARES_LIB_INIT_ALL) || ares_init(&channel)) {
        fprintf(stderr, "usage: cares NAME\n");
        return 2;
    }
    struct ares_addrinfo_hints hints;
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    ares_getaddrinfo(channel, words[1], NULL, &hints, done, NULL);
    for (;;) {
        fd_set readable, writable;
        FD_ZERO(&readable);
        FD_ZERO(&writable);
        int sockets = ares_fds(channel, &readable, &writable);
        if (sockets == 0)
            break;
        struct timeval limit;
        select(sockets, &readable, &writable, NULL, ares_timeout(channel, NULL, &limit));
        ares_process(channel, &readable, &writable);
    }
    ares_destroy(channel);
    return result;
}
