# resque-scheduler's delayed jobs: asked about, taken back, brought forward, and run when they are due.
class Delays < Part
  title "delays: enqueue_in, enqueue_at, removal, running when due"

  FAR_SECONDS = 100_000
  # More than two of the batches of 100 that the scheduler takes in a transaction.
  DUE_TOGETHER = 250
  DUE_APART = 20

  def exercise
    ask
    take_back
    bring_forward
    forget
    abort_when_changed
    run_when_due
  end

  private

  def ask
    @far = Time.now.to_i + FAR_SECONDS
    30.times { |id| Resque.enqueue_at(@far + id, Later, "far", id) }
    10.times { |id| Resque.enqueue_at(@far, Later, "crowd", id) }
    Resque.enqueue_at(@far + 7, Later, "far", 0)
    Resque.enqueue_in(3_600, OtherCount, "hour", 1)
    equal("timestamps, and jobs in all", [Resque.delayed_queue_schedule_size, Resque.count_all_scheduled_jobs], [31, 42])
    equal("delayed_queue_peek, a page", Resque.delayed_queue_peek(1, 20), (0..19).map { |id| @far + id })
    equal("delayed_timestamp_size, and peek", [Resque.delayed_timestamp_size(@far), Resque.delayed_timestamp_peek(@far, 8, 20).map { |job| job["args"] }],
          [11, [["crowd", 7], ["crowd", 8], ["crowd", 9]]])
    equal("delayed_timestamp_peek of one", Resque.delayed_timestamp_peek(@far + 3, 0, 1), [{"class" => "Later", "args" => ["far", 3], "queue" => "later"}])
    equal("delayed?", [Resque.delayed?(Later, "far", 4), Resque.delayed?(Later, "far", 400)], [true, false])
    equal("scheduled_at of a job that stands twice", Resque.scheduled_at(Later, "far", 0).sort, [@far, @far + 7])
    equal("next_delayed_timestamp, while nothing is due", Resque.next_delayed_timestamp, nil)
  end

  def take_back
    equal("remove_delayed of a job that stands twice", Resque.remove_delayed(Later, "far", 0), 2)
    equal("remove_delayed of what is not there", Resque.remove_delayed(Later, "far", 0), 0)
    equal("remove_delayed_selection", Resque.remove_delayed_selection(Later) { |args| args[0] == "crowd" && args[1] >= 4 }, 6)
    equal("remove_delayed_job_from_timestamp", Resque.remove_delayed_job_from_timestamp(@far + 9, Later, "far", 9), 1)
    equal("the timestamp that became empty is gone", [Resque.delayed_queue_peek(0, 100).include?(@far + 9), Resque.redis.exists("delayed:#{@far + 9}")], [false, 0])
    equal("timestamps, and jobs in all", [Resque.delayed_queue_schedule_size, Resque.count_all_scheduled_jobs], [30, 33])
  end

  def bring_forward
    equal("enqueue_delayed", [Resque.enqueue_delayed(Later, "far", 10), Resque.size("later")], [1, 1])
    equal("enqueue_delayed_selection", [Resque.enqueue_delayed_selection { |args| args[0] == "crowd" }, Resque.size("later")], [4, 5])
    Resque.delay_or_enqueue_at(@far + 500, Later, "far", 11)
    equal("delay_or_enqueue_at moves a job", Resque.scheduled_at(Later, "far", 11), [@far + 500])
    equal("find_delayed_selection", Resque.find_delayed_selection(Later) { |args| args[1] > 27 }.size, 2)
    equal("enqueue_at in the past is enqueued", [Resque.enqueue_at(Time.now - 5, Later, "past", 1), Resque.size("later")].last, 6)
  end

  def forget
    Resque.reset_delayed_queue
    equal("reset_delayed_queue: timestamps, jobs", [Resque.delayed_queue_schedule_size, Resque.count_all_scheduled_jobs], [0, 0])
    equal("keys that a reset leaves", Resque.keys.grep(/delayed|timestamps/), [])
    Resque.remove_queue("later")
  end

  # A batch whose list is changed between WATCH and EXEC must not be trimmed.
  def abort_when_changed
    timestamp = Time.now.to_i + FAR_SECONDS
    3.times { |id| Resque.enqueue_at(timestamp, Intruding, "intruding", id, timestamp) }
    equal("EXEC after another connection changed the list", Resque::Scheduler.enqueue_items_in_batch_for_timestamp(timestamp, 100), -1)
    equal("the list, whole", Resque.delayed_timestamp_size(timestamp), 3 + 3)
    Resque.reset_delayed_queue
    Resque.remove_queue("intruding")
  end

  def run_when_due
    due = Time.now.to_i + 4
    DUE_TOGETHER.times { |id| Resque.enqueue_at(due, Later, "due", id) }
    DUE_APART.times { |id| Resque.enqueue_at_with_queue("later", due + id % 4, Later, "apart", id) }
    10.times { |id| Resque.enqueue_in(2 + id % 2, Later, "soon", id) }
    equal("jobs taken back before they are due", (0...5).sum { |id| Resque.remove_delayed(Later, "due", id) }, 5)
    processes = [scheduler("scheduler"), worker("worker", queues: "later", fork_per_job: false)]
    registered(processes.last)
    await_processed(DUE_TOGETHER - 5 + DUE_APART + 10)
    count(due)
    retire(*processes)
  end

  def count(due)
    finished_exactly("due", (5...DUE_TOGETHER).to_a)
    finished_exactly("apart", (0...DUE_APART).to_a)
    finished_exactly("soon", (0...10).to_a)
    equal("jobs that ran before they were due", early("due") { due } + early("apart") { |id| due + id % 4 }, [])
    reaches("keys that are left when all have run", []) { Resque.keys.grep(/delayed|timestamps/) }
  end

  def early(part)
    Ledger.finished(part).select { |entry| entry.at.to_f < yield(entry.id.to_i) }.map(&:id)
  end
end
