# Unique jobs of sidekiq-unique-jobs in a blackhole: a job that is dropped keeps its lock, so that the like of it is refused,
# unless the rule gives the lock back.

class SidekiqTest
  UNIQUE_BACKLOG = (100...120).to_a.freeze

  def unlock
    rules_part("unlock: locks of sidekiq-unique-jobs, of jobs dropped, swept, quarantined, purged") do
      @unique = start_pusher("UNIQUE_JOBS" => "1")
      drop_without_unlock
      drop_with_unlock
      sweep_with_unlock
      quarantine
      purge_with_unlock
      run_unique
    ensure
      @unique&.close
    end
  end

  private

  # Returns the ids of what the client took, nil for what it refused as a duplicate.
  def push_unique(*numbers)
    @unique.push(numbers.map { |number| {"class" => "UniqueImportJob", "queue" => "unlock", "order" => order_for("unlock", number: number)} })
  end

  # Returns how many of these the client took, and how many it refused.
  def taken(*numbers)
    push_unique(*numbers).partition(&:itself).map(&:size)
  end

  def add_unique_rule(name, options = "")
    add_blackhole(name, "CLASS UniqueImportJob #{options}")
  end

  def queue_and_locks
    [Sidekiq::Queue.new("unlock").size, wire.call("ZCARD", "uniquejobs:digests")]
  end

  def lock_keys
    wire.call("KEYS", "uniquejobs:*").grep(/\Auniquejobs:\h{32,}/).sort
  end

  def drop_without_unlock
    figures.equal("a unique job pushed, and again: taken, refused", [taken(1), taken(1)], [[1, 0], [0, 1]])
    add_unique_rule("kept", "ACTION drop")
    figures.reaches("ACTION drop: dropped", [1]) { held_back("dropped") }
    figures.equal("the like of it, another, the like of that: taken, refused", [taken(1), taken(2), taken(2)], [[0, 1], [1, 0], [0, 1]])
    figures.equal("dropped", held_back("dropped"), [2])
    end_blackhole
    figures.equal("with no rule any more: taken, refused", taken(1, 2), [0, 2])
    figures.equal("Queue#size, locks", queue_and_locks, [0, 2])
    @stale = lock_keys
  end

  def drop_with_unlock
    add_unique_rule("freed", "ACTION drop UNLOCK")
    figures.equal("ACTION drop UNLOCK: pushed, again at once, and again: taken, refused", [taken(3), taken(3), taken(3)], [[1, 0]] * 3)
    figures.equal("dropped", held_back("dropped"), [3])
    figures.equal("Queue#size, locks", queue_and_locks, [0, 2])
    figures.equal("keys of locks beside those of before", lock_keys - @stale, [])
    end_blackhole
    figures.equal("after DEL pushed, and again: taken, refused", [taken(3), taken(3)], [[1, 0], [0, 1]])
    figures.equal("Queue#size, locks", queue_and_locks, [1, 3])
  end

  def sweep_with_unlock
    all = UNIQUE_BACKLOG.size + 1
    figures.equal("a backlog pushed, and again: taken, refused", [taken(*UNIQUE_BACKLOG), taken(*UNIQUE_BACKLOG)], [[all - 1, 0], [0, all - 1]])
    add_unique_rule("swept", "ACTION drop UNLOCK")
    figures.reaches("swept with UNLOCK: dropped", [all]) { held_back("dropped") }
    figures.equal("Queue#size, locks", queue_and_locks, [0, 2])
    figures.equal("pushed again: taken, refused", taken(3, *UNIQUE_BACKLOG), [all, 0])
    end_blackhole
    @waiting = push_unique(3, *UNIQUE_BACKLOG)
    figures.equal("and again after DEL: taken, locks", [@waiting.compact.size, queue_and_locks], [all, [all, all + 2]])
  end

  # What may come back keeps its lock.
  def quarantine
    all = @waiting.size
    add_unique_rule("parked")
    figures.reaches("quarantined, of which unique", [all, all]) { held_back("quarantined", "unique") }
    figures.equal("pushed again: taken, refused", taken(3, *UNIQUE_BACKLOG), [0, all])
    end_blackhole
    restore
    figures.reaches("restored: Queue#size, locks", [all, all + 2]) { queue_and_locks }
    figures.equal("pushed again: taken, refused", taken(3, *UNIQUE_BACKLOG), [0, all])
  end

  def purge_with_unlock
    all = @waiting.size
    add_unique_rule("purged")
    figures.reaches("quarantined", [all]) { held_back("quarantined") }
    end_blackhole
    rules.say("JOB.BLACKHOLE PURGE #{@rule} UNLOCK")
    figures.reaches("PURGE UNLOCK: purged, quarantined", [all, 0]) { held_back("purged", "quarantined") }
    figures.equal("Queue#size, locks", queue_and_locks, [0, 2])
    @waiting = push_unique(3, *UNIQUE_BACKLOG)
    figures.equal("pushed again: taken", @waiting.compact.size, all)
  end

  # The library itself gives the locks back when the jobs have run.
  def run_unique
    worker = start_worker("unlock", "-c", "5", "-q", "unlock", environment: {"UNIQUE_JOBS" => "1"})
    carried_out("unlock", @waiting, what: "unique jobs finished")
    figures.reaches("Queue#size, locks", [0, 2]) { queue_and_locks }
    more = push_unique(3, *UNIQUE_BACKLOG)
    carried_out("unlock", @waiting + more, what: "and once more")
    stop_workers(worker)
    # What it leaves of a lock expires after five seconds.
    figures.reaches("keys of locks beside those of before", []) { lock_keys - @stale }
    wire.call("DEL", *@stale, "uniquejobs:digests")
  end
end
