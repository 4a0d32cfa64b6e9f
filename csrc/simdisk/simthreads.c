/* simthreads.c: see simthreads.h. */
#include "simthreads.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

/* The real ones. */
#undef pthread_mutex_lock

#define STACK_BYTES (2u << 20)
#define LOCK_GIVES_WAY 20 /* of 100 */
#define CREATION_FAILS 20
#define UNFAIR 40
#define WOKEN_LATE 30
#define GOES_LATE 2
#define LATE_TURNS 200

typedef enum { FREE, READY, WAITING } thread_state;

typedef struct {
    thread_state state;
    bool stays;   /* nobody else goes on before it waits */
    bool lasting; /* made by the engine: nobody expects its end */
    u64 late;     /* so many turns others have before it goes on */
    ucontext_t context;
    void *stack, *shadow;
    const pthread_cond_t *waits_for;
    aul_sim_body *body;
    void *(*engine_body)(void *);
    void *argument;
} thread;

static thread threads[AUL_SIM_THREADS];
static ucontext_t outside;
static void *outside_shadow;
static const void *outside_stack;
static size_t outside_bytes;
static int current = -1;
static aul_random *chance;
static bool unfair; /* some are late */
static const pthread_mutex_t *gives_way;

int aul_sim_thread_current(void) { return current; }

/* The sanitizer has to know whose stack it looks at. */
static void leave_stack(void **shadow, const void *stack, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(shadow, stack, bytes);
#else
    (void)shadow, (void)stack, (void)bytes;
#endif
}

static void enter_stack(void *shadow, const void **from, size_t *bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(shadow, from, bytes);
#else
    (void)shadow, (void)from, (void)bytes;
#endif
}

/* A thread's turn ends. */
static void give_turn_back(void) {
    thread *self = &threads[current];
    bool over = self->state == FREE;
    leave_stack(over ? NULL : &self->shadow, outside_stack, outside_bytes);
    swapcontext(&self->context, &outside);
    enter_stack(self->shadow, &outside_stack, &outside_bytes);
}

static void give_turn(int number) {
    thread *next = &threads[number];
    current = number;
    leave_stack(&outside_shadow, next->stack, STACK_BYTES);
    swapcontext(&outside, &next->context);
    enter_stack(outside_shadow, NULL, NULL);
    current = -1;
}

static void run_body(void) {
    thread *self = &threads[current];
    enter_stack(NULL, &outside_stack, &outside_bytes);
    if (self->body)
        self->body(self->argument);
    else
        self->engine_body(self->argument);
    self->state = FREE;
    give_turn_back();
}

static void prepare(thread *fresh) {
    getcontext(&fresh->context);
    fresh->context.uc_stack.ss_sp = fresh->stack;
    fresh->context.uc_stack.ss_size = STACK_BYTES;
    fresh->context.uc_link = NULL;
    makecontext(&fresh->context, run_body, 0);
}

static int start(thread made) {
    int number = 0;
    while (number < AUL_SIM_THREADS && threads[number].state != FREE) number++;
    if (number == AUL_SIM_THREADS) return -1;
    made.stack = threads[number].stack; /* kept from whoever had the number before */
    if (!made.stack)
        made.stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made.stack == MAP_FAILED) abort();
    made.state = READY;
    threads[number] = made;
    prepare(&threads[number]);
    return number;
}

int aul_sim_thread_start(aul_sim_body *body, void *argument) {
    return start((thread){.body = body, .argument = argument});
}

void aul_sim_thread_give_way(u32 percent) {
    if (current >= 0 && !threads[current].stays && aul_random_chance(chance, percent))
        give_turn_back();
}

void aul_sim_thread_stay(bool stays) {
    if (current >= 0) threads[current].stays = stays;
}

static void wake(thread *sleeper) {
    sleeper->state = READY;
    if (unfair && aul_random_chance(chance, WOKEN_LATE))
        sleeper->late = aul_random_below(chance, LATE_TURNS);
}

/* Whose turn it is: not that of one who is late, as long as there are others. */
static int choose_next(const int *ready, size_t count) {
    int in_time[AUL_SIM_THREADS];
    size_t others = 0;
    if (unfair && aul_random_chance(chance, GOES_LATE))
        threads[ready[aul_random_below(chance, count)]].late = aul_random_below(chance, LATE_TURNS);
    for (size_t i = 0; i < count; i++) {
        thread *one = &threads[ready[i]];
        if (!one->late) in_time[others++] = ready[i];
        one->late -= one->late > 0;
    }
    return others ? in_time[aul_random_below(chance, others)]
                  : ready[aul_random_below(chance, count)];
}

bool aul_sim_threads_run(aul_random *random, const pthread_mutex_t *lock) {
    chance = random;
    gives_way = lock;
    unfair = aul_random_chance(random, UNFAIR);
    for (;;) {
        int ready[AUL_SIM_THREADS];
        size_t count = 0, expected = 0;
        for (int i = 0; i < AUL_SIM_THREADS; i++) {
            if (threads[i].state == READY) ready[count++] = i;
            expected += threads[i].state != FREE && !threads[i].lasting;
        }
        if (!expected || !count) return !expected;
        give_turn(choose_next(ready, count));
    }
}

int aul_sim_mutex_lock(pthread_mutex_t *mutex) {
    if (current >= 0 && mutex == gives_way) aul_sim_thread_give_way(LOCK_GIVES_WAY);
    return pthread_mutex_lock(mutex);
}

int aul_sim_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    if (current < 0) abort(); /* nobody would ever wake it */
    threads[current].state = WAITING;
    threads[current].waits_for = condition;
    pthread_mutex_unlock(mutex);
    give_turn_back();
    return pthread_mutex_lock(mutex);
}

/* Nobody waits so long that the time is over. */
int aul_sim_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           const struct timespec *until) {
    (void)until;
    return aul_sim_cond_wait(condition, mutex);
}

int aul_sim_cond_broadcast(pthread_cond_t *condition) {
    for (int i = 0; i < AUL_SIM_THREADS; i++)
        if (threads[i].state == WAITING && threads[i].waits_for == condition) wake(&threads[i]);
    return 0;
}

int aul_sim_cond_signal(pthread_cond_t *condition) {
    int waiting[AUL_SIM_THREADS];
    size_t count = 0;
    for (int i = 0; i < AUL_SIM_THREADS; i++)
        if (threads[i].state == WAITING && threads[i].waits_for == condition) waiting[count++] = i;
    if (count) wake(&threads[waiting[aul_random_below(chance, count)]]);
    return 0;
}

int aul_sim_thread_create(pthread_t *created, const pthread_attr_t *attributes,
                          void *(*body)(void *), void *argument) {
    (void)attributes;
    if (aul_random_chance(chance, CREATION_FAILS)) return EAGAIN;
    int number = start((thread){.lasting = true, .engine_body = body, .argument = argument});
    *created = (pthread_t)(uintptr_t)number;
    return number < 0 ? EAGAIN : 0;
}

int aul_sim_thread_join(pthread_t joined, void **result) {
    int number = (int)(uintptr_t)joined;
    while (threads[number].state == READY) give_turn(number);
    if (threads[number].state != FREE) abort(); /* it waits, and we for it */
    if (result) *result = NULL;
    return 0;
}
