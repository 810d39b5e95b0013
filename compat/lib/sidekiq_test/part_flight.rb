# A rule that comes while workers run at full speed and the application pushes as fast as it can.

class SidekiqTest
  FLIGHT_BACKLOG = 3000
  FLIGHT_WORKERS = 2
  FLIGHT_THREADS = 5
  # Every other job is bad, in the backlog and in what is pushed meanwhile.
  FLIGHT_BATCH = 20
  FLIGHT_BEFORE = 500
  FLIGHT_AFTER = 1000

  def flight
    rules_part("flight: the rule arrives while workers run at full speed and both kinds are pushed") do
      @flown = {bad: [], good: []}
      workers = Array.new(FLIGHT_WORKERS) { |index| start_worker("flight-#{index}", "-c", FLIGHT_THREADS.to_s, "-q", "flight") }
      push_flight(FLIGHT_BACKLOG)
      after_rule = fly
      check_flight(*after_rule)
      bring_flight_back
      stop_workers(*workers)
    end
  end

  private

  # Pushes good and bad in turn, in one batch, and returns the ids of the bad ones.
  def push_flight(count)
    orders = Array.new(count) { |index| [order_for("flight", how: "take a moment", customer_id: index.odd? ? 123 : 124)] }
    jids = Sidekiq::Client.push_bulk("class" => ImportJob, "queue" => "flight", "args" => orders)
    good, bad = jids.partition.with_index { |_, index| index.even? }
    @flown[:good].concat(good)
    @flown[:bad].concat(bad)
    bad
  end

  # Pushes all the time, makes the rule in the midst of it, and returns the bad ones that waited when it came into force, by the
  # server's own word, and those pushed after its reply.
  def fly
    waiting = nil
    push_while { Deeds.ids("finished", "flight").size < FLIGHT_BEFORE }
    pushing = Thread.new { push_while { waiting.nil? } }
    @rule = rules.fresh("flight")
    answers = wire.pipeline([["MULTI"], %w[LRANGE queue:flight 0 -1], ["JOB.BLACKHOLE", "ADD", @rule, *BAD_JOBS.split], ["EXEC"]])
    waiting = answers.last.first.map { |job| JSON.parse(job)["jid"] }
    pushing.join
    before = @flown[:bad].size
    pushed = 0
    push_while { (pushed += FLIGHT_BATCH) <= FLIGHT_AFTER }
    [waiting & @flown[:bad], @flown[:bad].drop(before)]
  end

  def push_while
    push_flight(FLIGHT_BATCH) while yield
  end

  def check_flight(waiting, pushed_after)
    figures.holds("bad jobs waited when the rule came (#{waiting.size}), and were pushed after it (#{pushed_after.size})", waiting.any? && pushed_after.size == FLIGHT_AFTER / 2)
    figures.reaches("good jobs finished, each once", [@flown[:good].size] * 2) do
      Deeds.ids("finished", "flight").then { |ids| [(ids & @flown[:good]).size, ids.tally.slice(*@flown[:good]).values.sum] }
    end
    figures.reaches("jobs in the queue", 0) { Sidekiq::Queue.new("flight").size }
    @ran = begun("flight") & @flown[:bad]
    figures.equal("bad jobs begun that waited when the rule came, or were pushed after it", (@ran & (waiting | pushed_after)).size, 0)
    figures.equal("bad jobs begun before it, each once", times_begun("flight", @flown[:bad]), @ran.size)
    kept = @flown[:bad].size - @ran.size
    figures.reaches("INFO: matched, quarantined", [kept, kept]) { held_back("matched", "quarantined") }
    figures.equal("INFO: at push and by sweep together", held_back("matched_at_push", "matched_by_sweep").sum, kept)
    quarantined = wire.call("LRANGE", "job:quarantine:#{@rule}:queue:flight", 0, -1).map { |job| JSON.parse(job)["jid"] }
    figures.holds("the quarantine holds all the bad ones that did not run, and no other", quarantined.sort == (@flown[:bad] - @ran).sort)
  end

  def bring_flight_back
    end_blackhole
    restore
    carried_out("flight", @flown.values.flatten, what: "jobs finished after DEL and RESTORE")
  end
end
