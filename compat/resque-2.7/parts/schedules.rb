# resque-scheduler's recurring jobs: from a file, and changed while the scheduler runs.
class Schedules < Part
  title "schedules: every, cron, added and removed while running"

  FILE = {"each_second" => {"every" => "1s", "class" => "Count", "queue" => "each_second", "args" => ["schedules", 1]},
          "by_cron" => {"cron" => "* * * * * *", "class" => "Count", "queue" => "by_cron", "args" => ["schedules", 2]},
          "never" => {"cron" => "0 0 1 1 *", "class" => "Count", "queue" => "never", "args" => ["schedules", 3]}}.freeze

  def exercise
    @process = scheduler("scheduler", DYNAMIC_SCHEDULE: "true", COMPAT_SCHEDULE: JSON.generate(FILE))
    from_the_file
    added_while_running
    removed_while_running
    equal("the lock of the master", Resque.redis.get(Masters::LOCK).to_s[/\d+\z/], @process.pid.to_s)
    retire(@process)
    equal("the lock of the master, when it has ended", Resque.redis.get(Masters::LOCK), nil)
  end

  private

  def from_the_file
    holds("`every` fires three times", fired("each_second", 3))
    holds("`cron` fires three times", fired("by_cron", 3))
    equal("a schedule that is not due", Resque.size("never"), 0)
    equal("the job that a schedule enqueues", Resque.peek("each_second"), {"class" => "Count", "args" => ["schedules", 1]})
    holds("get_last_enqueued_at", Time.parse(Resque.get_last_enqueued_at("each_second")) <= Time.now)
  end

  def added_while_running
    Resque.set_schedule("added", {"every" => "1s", "class" => "Count", "queue" => "added", "args" => ["schedules", 4], "persist" => true})
    holds("a schedule that was added fires", fired("added", 2))
    equal("fetch_schedule", Resque.fetch_schedule("added"), {"every" => "1s", "class" => "Count", "queue" => "added", "args" => ["schedules", 4]})
    Resque.set_schedule("added", {"every" => "1s", "class" => "Count", "queue" => "changed", "args" => ["schedules", 5], "persist" => true})
    holds("a schedule that was changed fires as it is now", fired("changed", 2))
  end

  # The scheduler takes the change from its set first and stops the job after, so one more may come; after that none.
  def removed_while_running
    Resque.remove_schedule("added")
    eventually("the scheduler has seen the removal") { Resque.redis.scard("schedules_changed").zero? }
    fired("each_second", Resque.size("each_second") + 1)
    after_removal = Resque.size("changed")
    fired("each_second", Resque.size("each_second") + 2)
    equal("jobs of a schedule after its removal", Resque.size("changed") - after_removal, 0)
    equal("persistent schedules left", Resque.redis.hlen("persistent_schedules"), 0)
  end

  def fired(queue, times)
    eventually("#{queue} has fired #{times} times") { Resque.size(queue) >= times }
  end
end
