# The list of failed jobs: what it holds, what is asked of it, and what is put back from it.
class Failures < Part
  title "failures: list, requeue, remove, clear"

  JOBS = 30
  OTHERS = 6

  def exercise
    fail_some
    look_inside
    requeue_one
    remove_some
    requeue_more
    clear
    multi_queue
  end

  private

  def fail_some
    @worker = worker("worker", queues: "broken,fixed", fork_per_job: false)
    @known = registered(@worker).first
    JOBS.times { |id| Resque.enqueue_to("broken", Broken, "failures", id) }
    OTHERS.times { |id| Resque.enqueue_to("broken", OtherBroken, "failures", JOBS + id) }
    await_processed(JOBS + OTHERS)
    equal("Resque::Failure.count", Resque::Failure.count, JOBS + OTHERS)
    equal("failed by Resque's count and by the worker's", [Resque::Stat[:failed], @known.failed, @known.processed], [JOBS + OTHERS] * 3)
  end

  def look_inside
    first = Resque::Failure.all(0)
    equal("the first failure", first.slice("queue", "exception", "error", "payload", "worker"),
          {"queue" => "broken", "exception" => "Broken::Fault", "error" => "broken 0 – ünïcode",
           "payload" => {"class" => "Broken", "args" => ["failures", 0]}, "worker" => @known.to_s})
    equal("Resque::Failure.all, a page", ids(Resque::Failure.all(10, 20)), (10..29).to_a)
    equal("Resque::Failure.each, newest first", each(0, JOBS + OTHERS), (0...JOBS + OTHERS).map { |id| [id, id] }.reverse)
    equal("Resque::Failure.each, oldest first", each(30, 20, nil, nil, "asc"), (30..35).map { |id| [id, id] })
    equal("Resque::Failure.count of a class", Resque::Failure.count(nil, "OtherBroken"), OTHERS)
    equal("Resque::Failure.each of a class", each(0, 3, nil, "OtherBroken", "asc").map(&:last), (30..32).to_a)
  end

  def requeue_one
    Gate.open("failures")
    Resque::Failure.requeue(5)
    await_finished("failures", 1)
    equal("requeued: marked, still listed", [Resque::Failure.all(5).key?("retried_at"), Resque::Failure.count], [true, JOBS + OTHERS])
    finished_exactly("failures", [5])
  end

  def remove_some
    Resque::Failure.remove(0)
    Resque::Failure.remove(JOBS + OTHERS - 2)
    Resque::Failure.remove(9)
    equal("Resque::Failure.remove: the rest keeps its order", ids(Resque::Failure.all(0, 100)), (0...JOBS + OTHERS).to_a - [0, 10, 35])
    equal("LSET beyond the end", error { Resque::Failure.remove(500) }, "ERR index out of range")
    equal("LSET of a list that is not there", error { Resque.redis.lset("nowhere", 0, "x") }, "ERR no such key")
    equal("Resque::Failure.clear_retried", [Resque::Failure.clear_retried && nil, ids(Resque::Failure.all(0, 100))],
          [nil, (0...JOBS + OTHERS).to_a - [0, 5, 10, 35]])
  end

  def requeue_more
    Resque::Failure.requeue_all
    await_finished("failures", 1 + 32)
    finished_exactly("failures", (0...JOBS + OTHERS).to_a - [0, 10, 35])
    Resque.enqueue_to("fixed", Broken, "never", 1)
    eventually("one more failure") { Resque::Failure.count == 33 }
    Resque::Failure.requeue_queue("fixed")
    eventually("it fails again") { Resque::Failure.count == 34 }
    equal("Resque::Failure.requeue_queue of one queue", ids(Resque::Failure.all(32, 5)), [1, 1])
  end

  def clear
    Resque::Failure::Redis.remove_queue("fixed")
    equal("Resque::Failure.remove_queue", [Resque::Failure.count, Resque::Failure.all(0, 100).map { |failure| failure["queue"] }.uniq], [32, ["broken"]])
    Resque::Failure.clear
    equal("Resque::Failure.clear: count, key", [Resque::Failure.count, Resque.redis.exists("failed"), Resque::Failure.all(0)], [0, 0, nil])
    retire(@worker)
  end

  # The other backend that Resque brings: a list of failures for each queue.
  def multi_queue
    several = worker("several", queues: "one,two", fork_per_job: false, COMPAT_FAILURES: "multi_queue")
    registered(several)
    %w[one one two].each_with_index { |queue, id| Resque.enqueue_to(queue, Broken, "several", id) }
    backend = Resque::Failure::RedisMultiQueue
    reaches("failures kept by queue", {"one_failed" => 2, "two_failed" => 1}) { backend.queues.sort.to_h { |name| [name, backend.count(name)] } }
    Gate.open("several")
    backend.requeue_queue("one")
    backend.requeue(0, "two_failed")
    await_finished("several", 3)
    finished_exactly("several", [0, 1, 2])
    backend.clear("one_failed")
    equal("failures of one queue cleared", [backend.count("one_failed"), backend.count], [0, 1])
    retire(several)
  end

  def ids(failures)
    failures.map { |failure| failure["payload"]["args"].last }
  end

  # Where a failure stands, and which job it is.
  def each(*arguments)
    [].tap { |pairs| Resque::Failure.each(*arguments) { |index, failure| pairs << [index, ids([failure]).first] } }
  end

  def error
    yield
    "no error"
  rescue Redis::CommandError => e
    e.message
  end
end
