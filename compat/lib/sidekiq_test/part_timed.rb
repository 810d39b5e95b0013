# What the pollers do: retries, jobs for later, cron jobs; and what becomes of jobs that fail for good.

class SidekiqTest
  FAILING = 40
  EXHAUSTED = 10
  UNRETRIED = 5
  SCHEDULED = 20
  PUT_OFF_SECONDS = 3600
  # The pollers look every second or so; the rest is for a busy machine, and for workers that start on one.
  LATE_SECONDS_MAX = 10.0
  LATE_AT_START_SECONDS_MAX = 30.0
  # A poller begins to look up to five seconds after its worker has started.
  POLLERS_AT_WORK_SECONDS = 6
  CRON_FIRINGS_MIN = 3

  def timed
    figures.part("timed: retries, exhaustion and morgue, perform_in, perform_at, reschedule, cron every second") do
      @retried = Array.new(FAILING) { FailOnceJob.set(queue: "timed").perform_async("retry") }
      push_doomed
      push_scheduled
      create_cron_job
      attempts = 2 * FAILING + 2 * EXHAUSTED + 2 * UNRETRIED + decided_by_retry.size + 5 * SCHEDULED
      failures = FAILING + 2 * EXHAUSTED + 2 * UNRETRIED + decided_by_retry.size
      healed = EXHAUSTED + UNRETRIED + killed_by_retry.size
      @cron_runs = 0
      sidekiq_counts_later(attempts + healed, failures) do
        workers = Array.new(2) { |index| start_worker("timed-#{index}", "-c", "10", "-q", "timed") }
        check_processes(workers)
        punctual = push_punctual
        check_scheduled
        check_punctual(punctual)
        check_retried
        check_doomed
        disable_cron_job
        check_morgue
        check_cron
        stop_workers(*workers)
      end
    end
  end

  private

  # How often cron fired is known only at the end.
  def sidekiq_counts_later(processed, failed)
    before = Sidekiq::Stats.new
    yield
    after = Sidekiq::Stats.new
    figures.equal("Stats.processed grew by", after.processed - before.processed, processed + @cron_runs)
    figures.equal("Stats.failed grew by", after.failed - before.failed, failed)
  end

  def push_doomed
    @exhausted = Array.new(EXHAUSTED) { FailUntilHealedJob.set(queue: "timed").perform_async("doomed") }
    @at_once = Array.new(UNRETRIED) { DieAtOnceJob.set(queue: "timed").perform_async("doomed") }
    @forgotten = Array.new(UNRETRIED) { ForgottenJob.set(queue: "timed").perform_async("doomed") }
    @decided = decided_by_retry.map { |job| [job, job.set(queue: "timed").perform_async("doomed")] }
    wire.call("LPUSH", "queue:timed", "this is not JSON")
  end

  # Sidekiq 7 takes a symbol from sidekiq_retry_in; 6 takes a number only.
  def decided_by_retry
    sidekiq_seven? ? [KilledByRetryJob, DiscardedByRetryJob] : []
  end

  def killed_by_retry
    decided_by_retry & [KilledByRetryJob]
  end

  def push_scheduled
    due = ->(seconds) { Time.now.to_f + seconds }
    later = DueJob.set(queue: "timed")
    @scheduled = Array.new(SCHEDULED) { |index| later.perform_in(1 + index % 5, "scheduled", due.call(1 + index % 5)) }
    @scheduled += Array.new(SCHEDULED) { |index| due.call(2 + index % 4).then { |at| later.perform_at(at, "scheduled", at) } }
    ats = Array.new(SCHEDULED) { |index| due.call(3 + index % 3) }
    @scheduled += Sidekiq::Client.push_bulk("class" => DueJob, "queue" => "timed", "args" => ats.map { |at| ["scheduled", at] }, "at" => ats)
    @put_off = Array.new(2 * SCHEDULED) { later.perform_in(PUT_OFF_SECONDS, "scheduled", due.call(0)) }
    set = Sidekiq::ScheduledSet.new
    figures.equal("ScheduledSet#size", set.size, 5 * SCHEDULED)
    figures.equal("Stats.scheduled_size", Sidekiq::Stats.new.scheduled_size, 5 * SCHEDULED)
    move_put_off(set)
  end

  # Of the jobs for in an hour the first half is deleted, a quarter brought forward, a quarter sent to the queue at once.
  def move_put_off(set)
    deleted, brought, sent = @put_off.first(SCHEDULED), @put_off[SCHEDULED, SCHEDULED / 2], @put_off.last(SCHEDULED / 2)
    deleted.each { |jid| set.find_job(jid).delete }
    brought.each { |jid| set.find_job(jid).reschedule(Time.now + 2) }
    sent.each { |jid| set.find_job(jid).add_to_queue }
    figures.equal("ScheduledSet#size after deleting, rescheduling, enqueueing", Sidekiq::ScheduledSet.new.size, 3 * SCHEDULED + SCHEDULED / 2)
    @scheduled += brought + sent
  end

  def check_processes(workers)
    list = living_processes
    figures.equal("pids in ProcessSet", list.map { |process| process["pid"] }.sort, workers.map(&:pid).sort)
    figures.equal("their concurrency", list.sum { |process| process["concurrency"] }, 20)
    figures.equal("their queues and tags", list.map { |process| [process.queues, process.tag] }.sort, [[["timed"], "timed-0"], [["timed"], "timed-1"]])
    figures.holds("their heartbeats expire", list.all? { |process| (1..60).cover?(wire.call("TTL", process.identity)) })
  end

  def check_scheduled
    finished_once("scheduled", @scheduled, what: "scheduled jobs finished")
    check_lateness("scheduled", LATE_AT_START_SECONDS_MAX)
  end

  # Schedules jobs that fall due while the pollers are at work, so that one that runs too early would show.
  def push_punctual
    Array.new(SCHEDULED) do |index|
      seconds = POLLERS_AT_WORK_SECONDS + index % 4 + 0.5
      DueJob.set(queue: "timed").perform_in(seconds, "punctual", Time.now.to_f + seconds)
    end
  end

  def check_punctual(jids)
    finished_once("punctual", jids, what: "jobs scheduled under running workers finished")
    check_lateness("punctual", LATE_SECONDS_MAX)
    figures.equal("ScheduledSet#size when all is done", Sidekiq::ScheduledSet.new.size, 0)
  end

  def check_lateness(part, seconds_max)
    lateness = wire.call("LRANGE", "tally:#{part}:lateness", 0, -1).map(&:to_f)
    # The due time is taken before the score is, so that no job can be right and yet early.
    figures.between("the earliest of them, in seconds late", lateness.min.round(3), 0.0..seconds_max)
    figures.between("the latest of them", lateness.max.round(3), 0.0..seconds_max)
  end

  def check_retried
    finished_once("retry", @retried, what: "jobs that failed once and then finished")
    figures.equal("each begun twice", attempts("retry").values.tally, {2 => FAILING})
    figures.equal("RetrySet#size when all is done", Sidekiq::RetrySet.new.then { |set| until_equal(0) { set.size } }, 0)
  end

  def check_doomed
    @dead = @exhausted + @at_once + @decided.filter_map { |job, jid| jid if job == KilledByRetryJob }
    figures.reaches("DeadSet#size", @dead.size + 1) { Sidekiq::DeadSet.new.size }
    figures.equal("Stats.dead_size", Sidekiq::Stats.new.dead_size, @dead.size + 1)
    figures.equal("ids in the dead set", Sidekiq::DeadSet.new.filter_map(&:jid).sort, @dead.sort)
    expected = @exhausted.to_h { |jid| [jid, 2] }.merge((@at_once + @forgotten + @decided.map(&:last)).to_h { |jid| [jid, 1] })
    figures.reaches("how often each of the failing was begun", expected.sort) { attempts("doomed").sort }
    figures.equal("sidekiq_retries_exhausted was called", wire.call("GET", "tally:doomed:exhausted").to_i, @dead.size)
    figures.equal("none of them finished", runs("doomed"), 0)
    unreadable = Sidekiq::DeadSet.new.find { |entry| entry.jid.nil? }
    figures.equal("what is not JSON is in the dead set as it came", unreadable&.value, "this is not JSON")
    unreadable&.delete
  end

  def check_morgue
    tell("doomed", "healed")
    Sidekiq::DeadSet.new.find_job(@dead.first).retry
    figures.equal("DeadSet#size after one retry", Sidekiq::DeadSet.new.size, @dead.size - 1)
    Sidekiq::DeadSet.new.retry_all
    finished_once("doomed", @dead, what: "jobs back from the dead finished")
    figures.equal("DeadSet#size after retry_all", Sidekiq::DeadSet.new.size, 0)
  end

  def create_cron_job
    Sidekiq::Cron::Job.create(name: "every second", cron: "* * * * * *", class: "CountJob", args: ["cron"], queue: "timed")
  end

  # Disables the cron job after some firings and enqueues it once by hand.
  def disable_cron_job
    eventually("cron has fired") { wire.call("ZCARD", cron_key("every second", "enqueued")) > CRON_FIRINGS_MIN }
    job = Sidekiq::Cron::Job.find("every second")
    job.disable!
    job.respond_to?(:enqueue!) ? job.enqueue! : job.enque!
    @cron_settled = now + 3 * WorkerSettings::POLL_SECONDS
  end

  # The poller marks every second that it fires for in a sorted set, after the mark that creating the job leaves. Two
  # workers poll here, and yet each second fires once.
  def check_cron
    # A poller may have read the job just before it was disabled, and its mark and its push are not one step.
    eventually("the pollers have seen that the cron job is disabled") { now > @cron_settled }
    @cron_runs = wire.call("ZCARD", cron_key("every second", "enqueued"))
    figures.reaches("cron jobs finished: one for each second marked, one by hand", @cron_runs) { runs("cron") }
    @finished["cron"] = wire.call("SMEMBERS", "tally:cron:jids")
    figures.equal("and each once", @finished["cron"].size, @cron_runs)
    check_cron_history
  end

  def check_cron_history
    job = Sidekiq::Cron::Job.find("every second")
    history = job.jid_history_from_redis.map { |entry| entry["jid"] }
    figures.equal("the last ten in the cron job's history", (history & @finished["cron"]).size, [@cron_runs, 10].min)
    figures.equal("Cron::Job.count", Sidekiq::Cron::Job.count, 1)
    job.destroy
    figures.equal("Cron::Job.count after destroy", Sidekiq::Cron::Job.count, 0)
  end

  # 6.4's sidekiq-cron has no namespaces.
  def cron_key(name, what)
    namespace = defined?(Sidekiq::Cron::Namespace) ? "default:" : ""
    "cron_job:#{namespace}#{name}:#{what}"
  end
end
