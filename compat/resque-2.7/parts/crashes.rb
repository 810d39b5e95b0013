# Processes killed in the middle of a job: found by their heartbeat, listed as failed, and put back.
class Crashes < Part
  title "crashes: children and workers killed, pruned, put back"

  WORKERS = 3

  def exercise
    a_child
    whole_workers
    pruned_by_heartbeat
    pruned_by_a_new_worker
    put_back
  end

  private

  def a_child
    @survivor = worker("survivor", queues: "child")
    Resque.enqueue_to("child", Held, "child", 1)
    Resque.enqueue_to("child", Count, "child_after", 1)
    Process.kill("KILL", Integer(await_started("child", 1).pid))
    await_finished("child_after", 1)
    failure = Resque::Failure.all(0)
    equal("a killed child becomes a failure", [failure["exception"], failure["error"][/SIGKILL/], failure["payload"]["args"]],
          ["Resque::DirtyExit", "SIGKILL", ["child", 1]])
    finished_exactly("child_after", [1])
  end

  def whole_workers
    WORKERS.times { |id| Resque.enqueue_to("crash#{id}", Held, "crash", id) }
    processes = Array.new(WORKERS) { |id| worker("crash#{id}", queues: "crash#{id}") }
    @dead = registered(*processes)
    WORKERS.times { |id| await_started("crash", id) }
    # The whole group at once, so that the child of a dead worker does not finish the job after all.
    processes.each(&:end_now)
    equal("killed workers still stand as working", Resque.working.map { |known| known.job["payload"]["args"] }.sort, Array.new(WORKERS) { |id| ["crash", id] })
    equal("workers registered, and with a heartbeat", [Resque.workers.size, Resque::Worker.all_heartbeats.size], [WORKERS + 1, WORKERS + 1])
  end

  # A worker of other queues prunes those whose heartbeat is older than Resque.prune_interval, and nobody else.
  def pruned_by_heartbeat
    pruner = Resque::Worker.new("unrelated")
    reaches("expired heartbeats", @dead.map(&:to_s).sort) { Resque::Worker.all_workers_with_expired_heartbeats.map(&:to_s).sort }
    while_another_prunes(pruner)
    reaches("workers left after pruning, once the lock has expired", [@survivor.pid]) do
      pruner.prune_dead_workers
      Resque.workers.map(&:pid)
    end
    failures = Resque::Failure.all(1, 10)
    equal("failures of killed workers", failures.map { |failure| [failure["exception"], failure["payload"]["args"]] }.sort,
          Array.new(WORKERS) { |id| ["Resque::PruneDeadWorkerDirtyExit", ["crash", id]] })
    equal("keys that killed workers leave", Resque.keys.grep(/#{@dead.map { |known| Regexp.escape(known.to_s) }.join("|")}/), [])
  end

  # SET NX EX keeps the others away for as long as one prunes.
  def while_another_prunes(pruner)
    eventually("the lock for pruning is free") { Resque.data_store.acquire_pruning_dead_worker_lock("somebody", 2) }
    equal("the lock for pruning, asked for again", Resque.data_store.acquire_pruning_dead_worker_lock("another", 2), false)
    pruner.prune_dead_workers
    equal("workers left when another holds the lock", Resque.workers.size, WORKERS + 1)
  end

  # A new worker of the same queues on the same machine sees by `ps` that its forerunner is gone. Where it could not have
  # the lock when it started, another asks in its place.
  def pruned_by_a_new_worker
    Resque.enqueue_to("same", Held, "crash", "same")
    forerunner = worker("forerunner", queues: "same")
    registered(forerunner)
    await_started("crash", "same")
    forerunner.end_now
    @successor = worker("successor", queues: "same")
    registered(@successor)
    reaches("workers of the queue", [@successor.pid]) do
      Resque::Worker.new("same").prune_dead_workers
      Resque.workers.select { |known| known.to_s.end_with?(":same") }.map(&:pid)
    end
    last = Resque::Failure.all(-1)
    equal("the failure of the forerunner", [last["exception"][/DirtyExit/], last["payload"]["args"]], ["DirtyExit", ["crash", "same"]])
  end

  def put_back
    Gate.open("crash")
    Gate.open("child")
    Resque::Failure.requeue_all
    process = worker("heir", queues: "crash0,crash1,crash2")
    registered(process)
    await_finished("crash", WORKERS + 1)
    await_finished("child", 1)
    finished_exactly("crash", [*0...WORKERS, "same"])
    finished_exactly("child", [1])
    retire(process, @survivor, @successor)
  end
end
