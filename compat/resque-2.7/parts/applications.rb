# ActiveJob on Resque: now, later, and again after a failure.
class Applications < Part
  title "applications: ActiveJob now, later, retried"

  JOBS = 20

  def exercise
    require_relative "../active_jobs"
    processes = [scheduler("scheduler", COMPAT_ACTIVE_JOB: "1"), worker("worker", queues: "active,urgent", COMPAT_ACTIVE_JOB: "1")]
    registered(processes.last)
    JOBS.times { |id| ApplicationCount.perform_later("now", id) }
    JOBS.times { |id| ApplicationCount.set(queue: "urgent").perform_later("urgent", id) }
    due = Time.now.to_f + 2
    5.times { |id| ApplicationCount.set(wait: 2).perform_later("waited", id) }
    5.times { |id| ApplicationRetried.perform_later("retried", id) }
    await_processed(2 * JOBS + 5 + 5 * 3)
    finished_exactly("now", (0...JOBS).to_a)
    finished_exactly("urgent", (0...JOBS).to_a)
    finished_exactly("waited", (0...5).to_a)
    # The scheduler keeps whole seconds, so the last one may begin a second before the due time's fraction.
    equal("jobs that ran before they were due", Ledger.finished("waited").count { |entry| entry.at.to_f < due.floor }, 0)
    finished_exactly("retried", (0...5).map { |id| "#{id}:3" })
    equal("failures", Resque::Failure.count, 0)
    retire(*processes)
  end
end
