# Many jobs through workers that do not fork, enqueued in every way while the workers are at it.
class Bulk < Part
  title "bulk: jobs through three workers"

  QUEUE_NAMES = %w[bulk_a bulk_b].freeze
  WORKERS = 3
  BATCH_JOBS = 50

  def exercise
    workers = Array.new(WORKERS) { |index| worker("worker#{index}", queues: QUEUE_NAMES.join(","), fork_per_job: false) }
    known = registered(*workers)
    enqueue
    await_processed(@target.jobs)
    count(known)
    retire(*workers)
    equal("what retired workers leave: registered, heartbeats, counters", traces, [[], {}, []])
  end

  private

  # Half one by one, a quarter in transactions, a quarter by a program that is not Resque.
  def enqueue
    one_by_one, in_multi, by_wire = shares
    one_by_one.each { |id| Resque.enqueue_to(queue(id), Count, "bulk", id) }
    in_multi.each_slice(BATCH_JOBS) { |ids| Resque.redis.multi { ids.each { |id| Resque.enqueue_to(queue(id), Count, "bulk", id) } } }
    by_wire.each_slice(BATCH_JOBS) { |ids| push_by_wire(ids) }
  end

  def shares
    ids = (0...@target.jobs).to_a
    half, quarter = @target.jobs / 2, @target.jobs / 4
    [ids[0, half], ids[half, quarter], ids[(half + quarter)..]]
  end

  def push_by_wire(ids)
    @wire ||= @target.wire
    ids.group_by { |id| queue(id) }.each do |queue, of_queue|
      @wire.call("RPUSH", "resque:queue:#{queue}", *of_queue.map { |id| JSON.generate(class: "Count", args: ["bulk", id]) })
    end
  end

  def queue(id)
    QUEUE_NAMES[id % QUEUE_NAMES.size]
  end

  def count(known)
    finished_exactly("bulk", (0...@target.jobs).to_a)
    equal("processed and failed by Resque's own count", Resque.info.values_at(:processed, :failed), [@target.jobs, 0])
    equal("the workers' own counts, in all", known.sum(&:processed), @target.jobs)
    equal("jobs left, and the queues' keys", [Resque.info[:pending], QUEUE_NAMES.sum { |name| Resque.redis.exists("queue:#{name}") }], [0, 0])
    equal("workers registered, and working", Resque.info.values_at(:workers, :working), [WORKERS, 0])
  end

  def traces
    [Resque.workers, Resque::Worker.all_heartbeats, Resque.keys.grep(/\Aworker:|\Astat:\w+:/)]
  end
end
