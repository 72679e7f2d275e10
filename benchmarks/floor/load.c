/* A cheap HTTP/1.1 client on one processor: POSTs one body over a number of keep-alive connections for a while.
 *
 *     load PORT PATH BODY_BYTES CONNECTIONS SECONDS RATE STATUS
 *
 * RATE 0: closed loop, each connection sends its next request when it has its answer.  Otherwise open loop: requests are
 * due at a fixed rate whether or not the last ones were answered, and latency counts from when each was due.  STATUS is what
 * every answer has to have, or two with a comma between them, of which the second is a refusal.  Prints one line of JSON:
 * answers, seconds, p50 and p99 in µs, and the same of refusals.  Any other answer, or one without Content-Length, ends it
 * with an error. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 16, MAX_CONNECTIONS = 20000, MAX_SAMPLES = 1 << 22, EVENTS = 256, PATIENCE_S = 60 };

typedef struct {
  int socket;
  bool busy;
  bool refused;
  uint64_t due_ns;
  size_t got;        /* bytes of head that are in `head` */
  int64_t left;      /* bytes of body to come; -1 while the head is being read */
  char head[2048];
} connection_t;

static int port, connection_count, poller;
static const char *status, *refusal;
static char *request;
static size_t request_size;
static double rate;
static connection_t *connections;
typedef struct {
  uint64_t *ns, count;
} samples_t;
static samples_t good, refused;
static uint64_t in_flight, start_ns, end_ns, scheduled;
/* A queue: every connection gets its turn, or the server would close those that never do. */
static int idle[MAX_CONNECTIONS], idle_first, idle_count;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what) {
  fprintf(stderr, "load: %s (%s)\n", what, errno ? strerror(errno) : "no system error");
  exit(1);
}

static void put_idle(int index) { idle[(idle_first + idle_count++) % MAX_CONNECTIONS] = index; }

static int take_idle(void) {
  int index = idle[idle_first];
  idle_first = (idle_first + 1) % MAX_CONNECTIONS;
  idle_count--;
  return index;
}

static void open_connection(int index) {
  connection_t *c = &connections[index];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int yes = 1;
  c->socket = socket(AF_INET, SOCK_STREAM, 0);
  if (c->socket < 0 || connect(c->socket, (struct sockaddr *)&address, sizeof address)) fail("connect");
  setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, c->socket, &event)) fail("epoll_ctl");
  put_idle(index);
}

static void send_request(int index, uint64_t due_ns) {
  connection_t *c = &connections[index];
  c->busy = true;
  c->due_ns = due_ns;
  c->got = 0;
  c->left = -1;
  in_flight++;
  for (size_t sent = 0; sent < request_size;) {
    ssize_t n = send(c->socket, request + sent, request_size - sent, MSG_NOSIGNAL);
    if (n < 0) fail("send");
    sent += (size_t)n;
  }
}

/* Sends what is due: in a closed loop on every idle connection, in an open loop by the clock. */
static void send_due(void) {
  uint64_t now = now_ns();
  while (idle_count && now < end_ns) {
    uint64_t due = rate > 0 ? start_ns + (uint64_t)((double)scheduled * 1e9 / rate) : now;
    if (due > now) return;
    scheduled++;
    send_request(take_idle(), due);
  }
}

static void answered(int index) {
  connection_t *c = &connections[index];
  samples_t *samples = c->refused ? &refused : &good;
  if (samples->count < MAX_SAMPLES) samples->ns[samples->count++] = now_ns() - c->due_ns;
  c->busy = false;
  in_flight--;
  put_idle(index);
}

/* Looks for the end of the head; true where it was found, with the number of body bytes still to come in `left`. */
static bool read_head(connection_t *c) {
  c->head[c->got] = 0;
  char *end = strstr(c->head, "\r\n\r\n");
  if (!end) {
    if (c->got >= sizeof c->head - 1) fail("the head of an answer is too long");
    return false;
  }
  c->refused = refusal && c->got >= 12 && !strncmp(c->head + 9, refusal, 3);
  if (c->got < 12 || (!c->refused && strncmp(c->head + 9, status, 3))) {
    fprintf(stderr, "load: the server answered: %.*s\n", (int)(c->got < 300 ? c->got : 300), c->head);
    exit(1);
  }
  char *length = strcasestr(c->head, "\r\ncontent-length:");
  if (!length || length > end) fail("an answer without Content-Length");
  c->left = atoll(length + 17) - (int64_t)(c->got - (size_t)(end + 4 - c->head));
  return true;
}

static void receive(int index) {
  static char scrap[ROOM];
  connection_t *c = &connections[index];
  bool in_head = c->left < 0;
  size_t room = in_head ? sizeof c->head - 1 - c->got : sizeof scrap;
  ssize_t n = recv(c->socket, in_head ? c->head + c->got : scrap, room, 0);
  if (n <= 0) fail(c->busy ? "the server closed a connection instead of answering" : "the server closed an idle connection");
  if (!c->busy) fail("the server answered unasked");
  if (in_head) {
    c->got += (size_t)n;
    if (!read_head(c)) return;
  } else {
    c->left -= n;
  }
  if (c->left < 0) fail("an answer is longer than it says");
  if (!c->left) answered(index);
}

/* Waits until there is an answer, the next request is due, or a millisecond has passed: looking again and again instead
 * would take a processor away from the server. */
static void wait_for_events(void) {
  uint64_t now = now_ns(), most = 1000000;
  if (rate > 0 && now < end_ns && idle_count) {
    uint64_t due = start_ns + (uint64_t)((double)scheduled * 1e9 / rate);
    most = due <= now ? 0 : due - now < most ? due - now : most;
  }
  struct pollfd ready = {.fd = poller, .events = POLLIN};
  struct timespec patience = {.tv_nsec = (long)most};
  ppoll(&ready, 1, &patience, NULL);
}

static void run(void) {
  struct epoll_event events[EVENTS];
  while (now_ns() < end_ns || in_flight) {
    if (now_ns() > end_ns + (uint64_t)PATIENCE_S * 1000000000u) fail("answers are missing");
    send_due();
    wait_for_events();
    int count = epoll_wait(poller, events, EVENTS, 0);
    for (int i = 0; i < count; i++) receive((int)events[i].data.u32);
  }
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static double percentile_us(samples_t *samples, unsigned percent) {
  return samples->count ? (double)samples->ns[samples->count * percent / 100] / 1e3 : 0;
}

int main(int argc, char **argv) {
  if (argc != 8) fail("usage: load PORT PATH BODY_BYTES CONNECTIONS SECONDS RATE STATUS");
  port = atoi(argv[1]);
  size_t body = strtoul(argv[3], NULL, 10);
  connection_count = atoi(argv[4]);
  double seconds = atof(argv[5]);
  rate = atof(argv[6]);
  status = argv[7];
  refusal = strchr(status, ',') ? strchr(status, ',') + 1 : NULL;
  if (connection_count < 1 || connection_count > MAX_CONNECTIONS || seconds <= 0 || seconds > 600) fail("a bad argument");
  request = malloc(body + strlen(argv[2]) + 200);
  request_size = (size_t)sprintf(request, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n", argv[2], body);
  for (size_t i = 0; i < body; i++) request[request_size++] = (char)('a' + i % 26);
  connections = calloc((size_t)connection_count, sizeof *connections);
  good.ns = malloc(MAX_SAMPLES * sizeof *good.ns);
  refused.ns = malloc(MAX_SAMPLES * sizeof *refused.ns);
  poller = epoll_create1(0);
  for (int i = 0; i < connection_count; i++) open_connection(i);
  start_ns = now_ns();
  end_ns = start_ns + (uint64_t)(seconds * 1e9);
  run();
  double took = (double)(now_ns() - start_ns) / 1e9;
  qsort(good.ns, good.count, sizeof *good.ns, compare);
  qsort(refused.ns, refused.count, sizeof *refused.ns, compare);
  if (!good.count) fail("no answer");
  printf("{\"answers\":%lu,\"seconds\":%.4f,\"p50\":%.1f,\"p99\":%.1f,\"refused\":%lu,\"refused_p50\":%.1f,\"refused_p99\":%.1f}\n",
         (unsigned long)good.count, took, percentile_us(&good, 50), percentile_us(&good, 99),
         (unsigned long)refused.count, percentile_us(&refused, 50), percentile_us(&refused, 99));
  return 0;
}
