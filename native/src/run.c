/* hw_run: bind every call, then let the threads take the tasks of one phase after the other.
 *
 * A phase is over when its tasks are done, whoever did them: a thread that wakes late finds nothing left to do and catches
 * up, and nobody waits for it. The threads of the pool are shared by the process. One hw_run at a time has them; a second
 * one that comes meanwhile works alone on its own thread: same results, no waiting. Who waits spins a little, then sleeps. */
#include "core.h"

#include <pthread.h>
#include <stdlib.h>

enum { MAX_THREADS = 256, SPINS = 4000, PHASES = 2 };

typedef struct hw_progress {
    int64_t next;            /* the first task that nobody has taken */
    int64_t done;
} hw_progress;

typedef struct hw_job {
    hw_plan *plans;
    hw_call *calls;
    int64_t n_calls;
    int threads;
    hw_progress *progress;   /* [n_calls][PHASES] */
    uint8_t *scratch;        /* [threads][scratch_bytes] */
    int64_t scratch_bytes;
    int64_t workers;         /* that have begun */
} hw_job;

static struct {
    pthread_mutex_t busy;    /* held by the hw_run that has the threads */
    pthread_mutex_t lock;    /* guards the rest and the sleepers */
    pthread_cond_t wake;
    int threads;             /* started, beside the caller */
    int64_t generation;      /* of the job */
    int64_t inside;          /* pool threads at work on the job */
    int places;              /* how many more may join */
    hw_job *job;             /* NULL: none, or over */
} pool = {.busy = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void relax(void)
{
#ifdef HW_X86
    __builtin_ia32_pause();
#endif
}

/* Wait until (*word == value) is `equal`. Who changes the word then calls wake_all. */
static void wait_word(const int64_t *word, int64_t value, bool equal)
{
    for (int i = 0; i < SPINS; i++) {
        if ((__atomic_load_n(word, __ATOMIC_ACQUIRE) == value) == equal)
            return;
        relax();
    }
    pthread_mutex_lock(&pool.lock);
    while ((__atomic_load_n(word, __ATOMIC_ACQUIRE) == value) != equal)
        pthread_cond_wait(&pool.wake, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

static void wake_all(void)
{
    pthread_mutex_lock(&pool.lock);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
}

/* Take tasks until none is left, then wait until those of the other threads are done, too. */
static void run_phase(hw_job *job, int64_t call, int phase, hw_worker *worker)
{
    const hw_plan *plan = &job->plans[call];
    const int64_t tasks = plan->tasks[phase];
    hw_progress *progress = &job->progress[call * PHASES + phase];
    int64_t events[HW_COUNTERS] = {0}, mine = 0, task;
    while ((task = __atomic_fetch_add(&progress->next, 1, __ATOMIC_RELAXED)) < tasks) {
        plan->op->family->task(plan, phase, task, worker, events);
        mine++;
    }
    for (int i = 0; i < HW_COUNTERS; i++)
        if (events[i])
            __atomic_fetch_add(&job->calls[call].events[i], events[i], __ATOMIC_RELAXED);
    if (job->threads == 1)
        return;
    if (mine && __atomic_add_fetch(&progress->done, mine, __ATOMIC_ACQ_REL) == tasks)
        wake_all();
    wait_word(&progress->done, tasks, true);
}

static void work(hw_job *job)
{
    hw_worker worker;
    worker.tiles_on = false;
    worker.scratch = job->scratch + __atomic_fetch_add(&job->workers, 1, __ATOMIC_RELAXED) * job->scratch_bytes;
    for (int64_t call = 0; call < job->n_calls; call++)
        for (int phase = 0; phase < PHASES; phase++)
            if (job->plans[call].tasks[phase])
                run_phase(job, call, phase, &worker);
#ifdef HW_AMX
    if (worker.tiles_on)
        hw_tiles_off();
#endif
}

static void *pool_main(void *argument)
{
    int64_t seen = 0;
    (void)argument;
    for (;;) {
        wait_word(&pool.generation, seen, false);
        pthread_mutex_lock(&pool.lock);
        seen = pool.generation;
        hw_job *job = pool.places > 0 ? pool.job : NULL;
        if (job) {
            pool.places--;
            __atomic_add_fetch(&pool.inside, 1, __ATOMIC_ACQ_REL); /* those who leave do not take the lock */
        }
        pthread_mutex_unlock(&pool.lock);
        if (!job)
            continue;
        work(job);
        __atomic_sub_fetch(&pool.inside, 1, __ATOMIC_ACQ_REL);
        wake_all();
    }
    return NULL;
}

/* After a fork the child has none of the threads: start again from nothing. */
static void forget_threads(void)
{
    pthread_mutex_init(&pool.busy, NULL);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.threads = pool.places = 0;
    pool.generation = pool.inside = 0;
    pool.job = NULL;
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
        if (pthread_create(&thread, &attributes, pool_main, NULL) != 0)
            break;
        pool.threads++;
    }
    pthread_attr_destroy(&attributes);
    return pool.threads;
}

/* Offer the job to the pool, work on it, and close it: who has not joined by then never sees it. */
static void run_shared(hw_job *job)
{
    pthread_mutex_lock(&pool.lock);
    pool.job = job;
    pool.places = job->threads - 1;
    __atomic_add_fetch(&pool.generation, 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    work(job);
    pthread_mutex_lock(&pool.lock);
    pool.job = NULL;
    pthread_mutex_unlock(&pool.lock);
    wait_word(&pool.inside, 0, true);
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

/* Memory of the workers' own, for whichever call asks for most. */
static uint8_t *share_scratch(hw_job *job, hw_status *status)
{
    for (int64_t i = 0; i < job->n_calls; i++)
        job->scratch_bytes = max64(job->scratch_bytes, ceil_div(job->plans[i].scratch_bytes, 64) * 64);
    void *memory = NULL;
    const int64_t bytes = max64(64, job->threads * job->scratch_bytes);
    if (posix_memalign(&memory, 64, (size_t)bytes) != 0)
        hw_fail(status, HW_NO_MEMORY, 0, bytes);
    return memory;
}

int32_t hw_run(hw_call *calls, int64_t n_calls, int32_t threads, hw_status *status)
{
    *status = (hw_status){0};
    if (n_calls < 1 || n_calls > INT32_MAX || threads < 1 || threads > MAX_THREADS)
        return hw_fail(status, HW_BAD_ARGUMENT, n_calls < 1 ? 0 : 1, n_calls < 1 ? n_calls : threads);
    hw_job job = {.calls = calls, .n_calls = n_calls, .threads = threads};
    job.plans = hw_alloc((size_t)n_calls * sizeof(hw_plan), status);
    job.progress = hw_alloc((size_t)n_calls * PHASES * sizeof(hw_progress), status);
    uint8_t *staging = NULL;
    if (job.plans && job.progress && bind_all(&job, status) == HW_OK)
        staging = share_staging(&job, status);
    if (staging)
        job.scratch = share_scratch(&job, status);
    if (job.scratch)
        run_job(&job);
    for (int64_t i = 0; job.plans && i < n_calls; i++)
        free(job.plans[i].table);
    free(staging);
    free(job.scratch);
    free(job.progress);
    free(job.plans);
    return status->code;
}
