/* Many users of one server from one thread: epoll and raw sockets, so that the server is the bottleneck and not this.
 *
 *   loadgen --port P --pid PID[,PID] --users N [options], and one JSON object a line on standard output:
 *
 *   {"kind":"connected", ...}   every user is welcome; how long that took, and what it added to the server's memory
 *   {"kind":"progress", ...}    five times a second, while a round runs
 *   {"kind":"round", ...}       one run of --events events for every user, all read and checked
 *   {"kind":"storm", ...}       every user was cut off and came back with resume at once (--storm)
 *
 * Dialects: greenroom (greenroom.v1), plain (a JSON text message to start, then messages with "seq" and a stamp), sio
 * (the same in Socket.IO's framing). Every user's events must carry the seq that follows, or the round counts a fault.
 * Exit status 1 with one line on standard error for whatever goes wrong. Times are in µs unless a name says otherwise.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, OPENING_AT_ONCE = 256, SILENCE_MS = 30000, MAX_PIDS = 8 };
enum dialect { GREENROOM, PLAIN, SIO };
enum state { CLOSED, UPGRADING, GREETING, LIVE };

typedef struct {
  int fd, number, stalled;
  enum state state;
  long last; /* the newest event's seq */
  char epoch[64];
  uint32_t length;
  char *buffer;
} user;

static enum dialect dialect = GREENROOM;
static int port, users, rounds = 1, stalled, storm, pids, ramp;
static long server[MAX_PIDS], events = 200;
static double rate;
static const char *host = "127.0.0.1", *path = "/", *agent = "load", *stamp = "";
static char run_tag[32];

static int epoll;
static user *all;
static uint32_t *latencies;
static long counted, stamped, room, faults, frames, live, recovered, resets;

static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double own_cpu(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static double server_cpu(void) { /* seconds, user and system, all threads */
  double sum = 0;
  for (int i = 0; i < pids; i++) {
    char name[64], text[1024];
    unsigned long user_ticks, system_ticks;
    snprintf(name, sizeof name, "/proc/%ld/stat", server[i]);
    FILE *file = fopen(name, "r");
    if (!file) continue;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    char *rest = strrchr(text, ')');
    if (rest && sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user_ticks, &system_ticks) == 2)
      sum += (double)(user_ticks + system_ticks) / sysconf(_SC_CLK_TCK);
  }
  return sum;
}

static long resident_kb(void) {
  long sum = 0;
  for (int i = 0; i < pids; i++) {
    char name[64], line[256];
    long kb = 0;
    snprintf(name, sizeof name, "/proc/%ld/status", server[i]);
    FILE *file = fopen(name, "r");
    if (!file) continue;
    while (fgets(line, sizeof line, file) && sscanf(line, "VmRSS: %ld", &kb) != 1) continue;
    fclose(file);
    sum += kb;
  }
  return sum;
}

/* One masked text message, with a mask of zeros: the server unmasks it all the same. RFC 6455 section 5.2. */
static void send_text(user *u, const char *text) {
  size_t size = strlen(text), head = 2;
  unsigned char message[2048] = {0x81};
  if (size > sizeof message - 16) die("a message of %zu bytes is too long for this generator", size);
  if (size < 126) {
    message[1] = 0x80 | size;
  } else {
    message[1] = 0x80 | 126;
    message[2] = size >> 8;
    message[3] = size & 255;
    head = 4;
  }
  memset(message + head, 0, 4);
  memcpy(message + head + 4, text, size);
  if (write(u->fd, message, head + 4 + size) != (ssize_t)(head + 4 + size)) die("write: %s", strerror(errno));
}

static void open_user(user *u) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  int one = 1, small = 4096;
  inet_pton(AF_INET, host, &address.sin_addr);
  u->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (u->fd < 0) die("socket: %s", strerror(errno));
  setsockopt(u->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (u->stalled) setsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  if (connect(u->fd, (void *)&address, sizeof address)) die("connect: %s", strerror(errno));
  char request[512];
  int size = snprintf(request, sizeof request,
                      "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                      path, host, port);
  if (write(u->fd, request, size) != size) die("write: %s", strerror(errno));
  fcntl(u->fd, F_SETFL, O_NONBLOCK);
  u->state = UPGRADING;
  u->length = 0;
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = u};
  epoll_ctl(epoll, EPOLL_CTL_ADD, u->fd, &event);
}

static void greet(user *u) {
  char hello[512], resume[160] = "";
  u->state = GREETING;
  if (dialect == PLAIN) {
    u->state = LIVE;
    live++;
  } else if (dialect == GREENROOM) {
    if (u->epoch[0])
      snprintf(resume, sizeof resume, ",\"resume\":{\"epoch\":\"%s\",\"seq\":%ld}", u->epoch, u->last);
    snprintf(hello, sizeof hello, "{\"type\":\"hello\",\"session\":\"bench-%s\",\"token\":\"user-%d\"%s}", run_tag,
             u->number, resume);
    send_text(u, hello);
  } /* Socket.IO's server speaks first */
}

static void welcomed(user *u, char *text, size_t size) {
  char *epoch = memmem(text, size, "\"epoch\":\"", 9);
  if (!epoch) die("a welcome without an epoch: %.*s", (int)size, text);
  int again = u->epoch[0] != 0;
  if (sscanf(epoch + 9, "%63[^\"]", u->epoch) != 1) die("a welcome with an empty epoch");
  if (memmem(text, size, "\"recovered\":true", 16)) recovered++;
  else if (again) resets++;
  u->state = LIVE;
  live++;
  if (u->stalled) epoll_ctl(epoll, EPOLL_CTL_DEL, u->fd, NULL); /* from here on it never reads */
}

static void count_events(user *u, char *at, char *end, int64_t arrived) {
  char *found;
  while ((found = memmem(at, end - at, "\"seq\":", 6))) {
    long seq = strtol(found + 6, &at, 10);
    if (seq != u->last + 1) faults++;
    u->last = seq;
    counted++;
    char *next = memmem(at, end - at, "\"seq\":", 6), *until = next ? next : end;
    char *mark = memmem(at, until - at, stamp, strlen(stamp));
    if (mark) {
      int64_t age = (arrived - strtoll(mark + strlen(stamp), NULL, 10)) / 1000;
      if (age >= 0 && age < UINT32_MAX && stamped < room) latencies[stamped++] = age;
    }
    at = until;
  }
}

static void text_message(user *u, char *text, size_t size, int64_t arrived) {
  frames++;
  if (dialect == SIO) {
    if (size == 1 && text[0] == '2') return send_text(u, "3");
    if (u->state == GREETING && text[0] == '0') return send_text(u, "40");
    if (u->state == GREETING && size > 1 && text[0] == '4' && text[1] == '0') {
      u->state = LIVE;
      live++;
      return;
    }
  } else if (dialect == GREENROOM && memcmp(text, "{\"type\":\"events\"", size < 16 ? size : 16)) {
    frames--;
    if (size > 15 && !memcmp(text, "{\"type\":\"ping\"", 14)) return send_text(u, "{\"type\":\"pong\"}");
    if (u->state == GREETING && size > 18 && !memcmp(text, "{\"type\":\"welcome\"", 17)) return welcomed(u, text, size);
    if (memmem(text, size < 64 ? size : 64, "\"goodbye\"", 9) || memmem(text, size, "\"ok\":false", 10))
      die("the server said: %.*s", (int)(size < 400 ? size : 400), text);
    return;
  }
  count_events(u, text, text + size, arrived);
}

static void take_frames(user *u, int64_t arrived) {
  char *at = u->buffer, *end = u->buffer + u->length;
  if (u->state == UPGRADING) {
    char *rest = memmem(at, end - at, "\r\n\r\n", 4);
    if (!rest) return;
    if (strncmp(at, "HTTP/1.1 101", 12)) die("no upgrade: %.120s", at);
    at = rest + 4;
    greet(u);
  }
  while (end - at >= 2) {
    unsigned char *bytes = (unsigned char *)at;
    uint64_t size = bytes[1] & 127;
    int head = 2;
    if (size == 126) {
      if (end - at < 4) break;
      size = bytes[2] << 8 | bytes[3];
      head = 4;
    } else if (size == 127) {
      if (end - at < 10) break;
      size = 0;
      for (int i = 0; i < 8; i++) size = size << 8 | bytes[2 + i];
      head = 10;
    }
    if ((uint64_t)(end - at) < head + size) break;
    int opcode = bytes[0] & 15;
    if (opcode == 8) die("the server closed user %d", u->number);
    if (opcode == 9) { /* ping: a pong with the same payload */
      unsigned char pong[140] = {0x8a, 0x80 | (unsigned char)size};
      memcpy(pong + 6, at + head, size);
      if (write(u->fd, pong, 6 + size) < 0) die("write: %s", strerror(errno));
    } else {
      text_message(u, at + head, size, arrived);
    }
    at += head + size;
  }
  u->length = end - at;
  if (u->length == BUFFER) die("a message of more than %d bytes", BUFFER);
  if (at != u->buffer && u->length) memmove(u->buffer, at, u->length);
}

/* Read whatever is there; the number of sockets that had something, 0 after `wait_ms` of silence. */
static int pump(int wait_ms) {
  struct epoll_event ready[256];
  int found = epoll_wait(epoll, ready, 256, wait_ms);
  for (int i = 0; i < found; i++) {
    user *u = ready[i].data.ptr;
    ssize_t got = read(u->fd, u->buffer + u->length, BUFFER - u->length);
    if (got < 0 && errno == EAGAIN) continue;
    if (got <= 0) die("the server cut user %d off: %s", u->number, got ? strerror(errno) : "end of stream");
    u->length += got;
    take_frames(u, now_ns());
  }
  return found;
}

/* Open everybody, `ramp` a second or as fast as they get through; the seconds until the last was live. */
static double connect_all(void) {
  int64_t began = now_ns();
  live = recovered = resets = 0;
  for (int opened = 0; live < users;) {
    long due = ramp ? (now_ns() - began) / 1e9 * ramp + 1 : users;
    while (opened < users && opened < due && opened - live < OPENING_AT_ONCE) open_user(all + opened++);
    if (!pump(ramp ? 1 : SILENCE_MS) && !ramp) die("%ld of %d were welcome, then nothing", live, users);
  }
  return (now_ns() - began) / 1e9;
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static uint32_t quantile(double share) { return stamped ? latencies[(long)(share * (stamped - 1))] : 0; }

static void run_round(int number) {
  char start[512];
  int readers = users - stalled;
  long wanted = (long)readers * (events + (dialect == GREENROOM ? 2 : 0)); /* started and completed come on top */
  counted = stamped = faults = frames = 0;
  if (dialect == GREENROOM)
    snprintf(start, sizeof start,
             "{\"type\":\"command\",\"id\":\"%s-%d\",\"name\":\"run.start\",\"args\":{\"agent\":\"%s\",\"input\":"
             "{\"events\":%ld,\"rate\":%g}}}", run_tag, number, agent, events, rate);
  else
    snprintf(start, sizeof start, dialect == SIO ? "42[\"run\",{\"k\":%ld,\"rate\":%g}]" : "{\"k\":%ld,\"rate\":%g}",
             events, rate);
  double cpu = server_cpu(), own = own_cpu();
  int64_t began = now_ns(), told = began;
  for (int i = 0; i < users; i++) send_text(all + i, start);
  while (counted < wanted) {
    if (!pump(SILENCE_MS)) die("%ld of %ld events came, then nothing for %d s", counted, wanted, SILENCE_MS / 1000);
    if (now_ns() - told > 200000000) {
      told = now_ns();
      printf("{\"kind\":\"progress\",\"events\":%ld,\"wanted\":%ld}\n", counted, wanted);
    }
  }
  double seconds = (now_ns() - began) / 1e9;
  own = own_cpu() - own;
  cpu = server_cpu() - cpu;
  qsort(latencies, stamped, sizeof *latencies, by_size);
  printf("{\"kind\":\"round\",\"number\":%d,\"events\":%ld,\"seconds\":%.6f,\"server_cpu\":%.2f,\"busy\":%.3f,\"faults\":%ld,"
         "\"frames\":%ld,\"p50\":%u,\"p90\":%u,\"p99\":%u,\"p999\":%u,\"longest\":%u,\"resident_kb\":%ld}\n",
         number, readers * events, seconds, cpu, own / seconds, faults, frames, quantile(.5), quantile(.9), quantile(.99),
         quantile(.999), quantile(1), resident_kb());
}

static void run_storm(void) {
  double cpu = server_cpu();
  for (int i = 0; i < users; i++) {
    close(all[i].fd);
    all[i].state = CLOSED;
  }
  double seconds = connect_all();
  printf("{\"kind\":\"storm\",\"users\":%d,\"seconds\":%.6f,\"server_cpu\":%.2f,\"recovered\":%ld,\"resets\":%ld,"
         "\"faults\":%ld}\n", users, seconds, server_cpu() - cpu, recovered, resets, faults);
}

static void read_options(int count, char **words) {
  static const struct option known[] = {
      {"port", 1, 0, 'p'},   {"pid", 1, 0, 'i'},    {"users", 1, 0, 'u'},  {"events", 1, 0, 'e'}, {"rate", 1, 0, 'r'},
      {"rounds", 1, 0, 'n'}, {"agent", 1, 0, 'a'},  {"stamp", 1, 0, 's'},  {"path", 1, 0, 'w'},   {"dialect", 1, 0, 'd'},
      {"ramp", 1, 0, 'R'},   {"stalled", 1, 0, 'S'}, {"storm", 1, 0, 'x'}, {"host", 1, 0, 'h'},   {0, 0, 0, 0}};
  for (int letter; (letter = getopt_long(count, words, "", known, NULL)) != -1;) switch (letter) {
      case 'p': port = atoi(optarg); break;
      case 'u': users = atoi(optarg); break;
      case 'e': events = atol(optarg); break;
      case 'r': rate = atof(optarg); break;
      case 'n': rounds = atoi(optarg); break;
      case 'a': agent = optarg; break;
      case 's': stamp = optarg; break;
      case 'w': path = optarg; break;
      case 'h': host = optarg; break;
      case 'R': ramp = atoi(optarg); break;
      case 'S': stalled = atoi(optarg); break;
      case 'x': storm = atoi(optarg); break;
      case 'd': dialect = !strcmp(optarg, "sio") ? SIO : !strcmp(optarg, "plain") ? PLAIN : GREENROOM; break;
      case 'i':
        for (char *pid = strtok(optarg, ","); pid && pids < MAX_PIDS; pid = strtok(NULL, ",")) server[pids++] = atol(pid);
        break;
      default: die("usage: see the top of the source");
    }
  if (!*stamp) stamp = strcmp(agent, "custom") ? "\"text\":\"" : "\"at\":[";
  if (!port || users < 1 || stalled >= users) die("usage: --port P --users N, more users than --stalled");
}

int main(int count, char **words) {
  read_options(count, words);
  setvbuf(stdout, NULL, _IOLBF, 0);
  snprintf(run_tag, sizeof run_tag, "%d", getpid());
  epoll = epoll_create1(0);
  all = calloc(users, sizeof *all);
  room = (long)users * events;
  latencies = malloc((room + 1) * sizeof *latencies);
  for (int i = 0; i < users; i++) all[i] = (user){.number = i, .stalled = i < stalled, .buffer = malloc(BUFFER)};
  long before = resident_kb();
  double seconds = connect_all();
  usleep(400000); /* until the server has done what it does after a welcome */
  printf("{\"kind\":\"connected\",\"users\":%d,\"seconds\":%.6f,\"kb_per_user\":%.2f}\n", users, seconds,
         (double)(resident_kb() - before) / users);
  for (int number = 1; number <= rounds; number++) {
    run_round(number);
    usleep(300000);
  }
  for (int number = 0; number < storm; number++) {
    run_storm();
    usleep(300000);
  }
  return 0;
}
