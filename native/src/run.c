/* hw_run: bind every call, then let the threads take the tasks of one phase after the other.
 *
 * The threads of the pool are shared by the process. One hw_run at a time has them; a second one that comes meanwhile
 * works alone on its own thread: same results, no waiting. Waiting threads spin a little, then sleep. */
#include "core.h"

#include <pthread.h>
#include <stdlib.h>

enum { MAX_THREADS = 256, SPINS = 4000, PHASES = 2 };

typedef struct hw_job {
    hw_plan *plans;
    hw_call *calls;
    int64_t n_calls;
    int threads;
    int64_t *next;           /* [n_calls][PHASES]: the first task that nobody has taken */
    int arrived;             /* barrier: how many threads have finished this phase */
    int round;               /* barrier: how many phases are over */
} hw_job;

static struct {
    pthread_mutex_t busy;    /* held by the hw_run that has the threads */
    pthread_mutex_t lock;    /* guards the rest and the sleepers */
    pthread_cond_t wake;
    int threads;             /* started, beside the caller */
    int generation;          /* of the job */
    int born[MAX_THREADS];   /* the generation that each thread need not serve any more */
    int inside;              /* pool threads still in the job */
    hw_job *job;
} pool = {.busy = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void relax(void)
{
#ifdef HW_X86
    __builtin_ia32_pause();
#endif
}

/* Wait until *word is no longer `old`. */
static void wait_change(const int *word, int old)
{
    for (int i = 0; i < SPINS; i++) {
        if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != old)
            return;
        relax();
    }
    pthread_mutex_lock(&pool.lock);
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == old)
        pthread_cond_wait(&pool.wake, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

static void change(int *word, int value)
{
    pthread_mutex_lock(&pool.lock);
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
}

static void barrier(hw_job *job)
{
    if (job->threads == 1)
        return;
    const int round = __atomic_load_n(&job->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&job->arrived, 1, __ATOMIC_ACQ_REL) == job->threads) {
        __atomic_store_n(&job->arrived, 0, __ATOMIC_RELAXED);
        change(&job->round, round + 1);
    } else {
        wait_change(&job->round, round);
    }
}

static void run_phase(hw_job *job, int64_t call, int phase, hw_worker *worker)
{
    const hw_plan *plan = &job->plans[call];
    int64_t events[2] = {0, 0};
    int64_t *next = &job->next[call * PHASES + phase];
    for (;;) {
        const int64_t task = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
        if (task >= plan->tasks[phase])
            break;
        plan->op->family->task(plan, phase, task, worker, events);
    }
    for (int i = 0; i < 2; i++)
        if (events[i])
            __atomic_fetch_add(&job->calls[call].events[i], events[i], __ATOMIC_RELAXED);
}

static void work(hw_job *job)
{
    hw_worker worker;
    worker.tiles_on = false;
    for (int64_t call = 0; call < job->n_calls; call++) {
        for (int phase = 0; phase < PHASES; phase++) {
            if (job->plans[call].tasks[phase] == 0)
                continue;
            run_phase(job, call, phase, &worker);
            barrier(job);
        }
    }
#ifdef HW_AMX
    if (worker.tiles_on)
        hw_tiles_off();
#endif
}

static void *pool_main(void *argument)
{
    const int index = (int)(intptr_t)argument;
    int seen = pool.born[index];
    for (;;) {
        wait_change(&pool.generation, seen);
        seen = __atomic_load_n(&pool.generation, __ATOMIC_ACQUIRE);
        hw_job *job = pool.job;
        if (index < job->threads)
            work(job);
        pthread_mutex_lock(&pool.lock);
        __atomic_sub_fetch(&pool.inside, 1, __ATOMIC_ACQ_REL);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
    return NULL;
}

/* After a fork the child has none of the threads: start again from nothing. */
static void forget_threads(void)
{
    pthread_mutex_init(&pool.busy, NULL);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.threads = pool.generation = pool.inside = 0;
}

/* Start threads until there are `wanted` beside the caller; return how many there are. */
static int start_threads(int wanted)
{
    static bool told;
    if (!told && pthread_atfork(NULL, NULL, forget_threads) == 0)
        told = true;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return pool.threads;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (told && pool.threads < wanted) {
        pthread_t thread;
        pool.born[pool.threads + 1] = pool.generation;
        if (pthread_create(&thread, &attributes, pool_main, (void *)(intptr_t)(pool.threads + 1)) != 0)
            break;
        pool.threads++;
    }
    pthread_attr_destroy(&attributes);
    return pool.threads;
}

/* Every started thread passes through every job, so that none of them misses a generation. */
static void run_shared(hw_job *job)
{
    pool.job = job;
    __atomic_store_n(&pool.inside, pool.threads, __ATOMIC_RELEASE);
    change(&pool.generation, pool.generation + 1);
    work(job);
    for (int left; (left = __atomic_load_n(&pool.inside, __ATOMIC_ACQUIRE)) != 0;)
        wait_change(&pool.inside, left);
}

static void run_job(hw_job *job)
{
    if (job->threads > 1 && pthread_mutex_trylock(&pool.busy) == 0) {
        job->threads = (int)min64(job->threads, start_threads(job->threads - 1) + 1);
        run_shared(job);
        pthread_mutex_unlock(&pool.busy);
    } else {
        job->threads = 1;
        work(job);
    }
}

static int bind_all(hw_job *job, hw_status *status)
{
    for (int64_t i = 0; i < job->n_calls; i++) {
        hw_call *call = &job->calls[i];
        hw_plan *plan = &job->plans[i];
        status->call = (int32_t)i;
        plan->op = call->op;
        plan->call = call;
        plan->threads = job->threads;
        if (call->op == NULL || call->inputs == NULL || call->n_inputs < 1 || call->events == NULL)
            return hw_fail(status, HW_BAD_ARGUMENT, 0, call->n_inputs);
        for (int64_t k = 0; k < call->n_inputs; k++)
            if (hw_check_tensor(&call->inputs[k], k, status))
                return status->code;
        if (hw_check_tensor(&call->output, call->n_inputs, status) || call->op->family->bind(call->op, plan, status))
            return status->code;
    }
    return HW_OK;
}

/* One piece of memory for the staged inputs of all calls: they run one after the other. */
static uint8_t *share_staging(hw_job *job, hw_status *status)
{
    int64_t most = 0;
    for (int64_t i = 0; i < job->n_calls; i++)
        most = max64(most, job->plans[i].staged_bytes);
    uint8_t *memory = malloc((size_t)most + 1);
    if (!memory)
        hw_fail(status, HW_NO_MEMORY, 0, most);
    for (int64_t i = 0; memory && i < job->n_calls; i++)
        if (job->plans[i].staged_bytes)
            job->plans[i].input.data = memory + job->plans[i].staged_origin;
    return memory;
}

int32_t hw_run(hw_call *calls, int64_t n_calls, int32_t threads, hw_status *status)
{
    *status = (hw_status){0};
    if (n_calls < 1 || n_calls > INT32_MAX || threads < 1 || threads > MAX_THREADS)
        return hw_fail(status, HW_BAD_ARGUMENT, n_calls < 1 ? 0 : 1, n_calls < 1 ? n_calls : threads);
    hw_job job = {.calls = calls, .n_calls = n_calls, .threads = threads};
    job.plans = hw_alloc((size_t)n_calls * sizeof(hw_plan), status);
    job.next = hw_alloc((size_t)n_calls * PHASES * sizeof(int64_t), status);
    uint8_t *staging = NULL;
    if (job.plans && job.next && bind_all(&job, status) == HW_OK)
        staging = share_staging(&job, status);
    if (staging)
        run_job(&job);
    for (int64_t i = 0; job.plans && i < n_calls; i++)
        free(job.plans[i].table);
    free(staging);
    free(job.next);
    free(job.plans);
    return status->code;
}
