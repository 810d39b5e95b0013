# Several schedulers, of which one works: who is master, and who takes over when it is ended or killed.
class Masters < Part
  title "masters: one scheduler of three works, the next takes over"

  # resque-scheduler puts the namespace before the name, and redis-namespace puts it there again.
  LOCK = "resque:resque_scheduler_master_lock".freeze

  def exercise
    first = scheduler("first", LOCK_TIMEOUT: "3")
    await_master(first)
    others = [scheduler("second"), scheduler("third")]
    between("seconds that the first master's lock lives", Resque.redis.ttl(LOCK), 1..3)
    others.each { |process| eventually("#{process.name} stands by") { process_title(process).include?("Schedules Loaded") } }
    60.times { |id| Resque.enqueue_in_with_queue("masters", 4 + id % 4, Count, "masters", id) }
    second = killed(first, others)
    ended(second, others - [second])
    enqueued_once
  end

  private

  def killed(first, others)
    first.end_now
    second = eventually("another takes over from the killed master") { others.find { |process| master?(process) } }
    between("seconds that its lock lives, with the default", Resque.redis.ttl(LOCK), 170..180)
    holds("a master that was killed is followed when its lock expires", second)
    second
  end

  def ended(second, (third))
    equal("exit status of the master at TERM", second.stop("TERM"), 0)
    await_master(third)
    holds("a master that was told to end is followed at once", master?(third))
  end

  def enqueued_once
    reaches("delayed jobs enqueued across three masters", 60) { Resque.size("masters") }
    equal("each of them once", Resque.peek("masters", 0, 100).map { |job| job["args"].last }.sort, (0...60).to_a)
  end

  def await_master(process)
    eventually("#{process.name} is master") { master?(process) }
  end

  def master?(process)
    Resque.redis.get(LOCK).to_s.end_with?(":#{process.pid}")
  end
end
