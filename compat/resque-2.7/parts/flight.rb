# A rule that comes while workers run as fast as they can and the application enqueues without a pause.
class Flight < RulePart
  title "flight: the rule arrives while workers run at full speed and both kinds are enqueued"

  QUEUE = "flight"
  WORKERS = 3
  # Every other job is bad.
  BACKLOG = 1_000
  BEFORE = 100
  AFTER = 500

  private

  def tell
    @bad, @good = [], []
    processes = Array.new(WORKERS) { |id| worker("worker#{id}", queues: QUEUE, fork_per_job: false) }
    registered(*processes)
    BACKLOG.times { push_next }
    push_next while Deeds.ids("finished", QUEUE).size < BEFORE
    waiting = make_rule
    before = @bad.size
    AFTER.times { push_next }
    check(waiting & @bad, @bad.drop(before))
    end_blackhole
    restore
    carried_out(QUEUE, @good + @bad, what: "jobs finished after DEL and RESTORE")
    retire(*processes)
  end

  def push_next
    bad = @good.size > @bad.size
    (bad ? @bad : @good) << push_order("ImportJob", order(QUEUE, QUEUE, how: "take a moment", customer_id: bad ? 123 : 124))
  end

  # Makes the rule and returns which jobs waited when it came into force, by the server's own word.
  def make_rule
    @rule = rules.fresh("flight")
    answers = @wire.pipeline([["MULTI"], ["LRANGE", "resque:queue:#{QUEUE}", 0, -1], ["JOB.BLACKHOLE", "ADD", @rule, *BAD_JOBS.split], ["EXEC"]])
    answers.last.first.map { |job| id_of(Resque.decode(job)) }
  end

  def check(waiting, pushed_after)
    holds("bad jobs waited when the rule came (#{waiting.size}), and were enqueued after it (#{pushed_after.size})", waiting.any? && pushed_after.size == AFTER / 2)
    reaches("good jobs finished, each once", [@good.size] * 2) { Deeds.ids("finished", QUEUE).then { |ids| [(ids & @good).size, ids.tally.slice(*@good).values.sum] } }
    reaches("jobs in the queue", 0) { Resque.size(QUEUE) }
    ran = begun(QUEUE) & @bad
    equal("bad jobs begun that waited when the rule came, or were enqueued after it", (ran & (waiting | pushed_after)).size, 0)
    equal("bad jobs begun before it, each once", times_begun(QUEUE, @bad), ran.size)
    kept = @bad.size - ran.size
    reaches("INFO: matched, quarantined", [kept, kept]) { held_back("matched", "quarantined") }
    equal("INFO: at push and by sweep together", held_back("matched_at_push", "matched_by_sweep").sum, kept)
    quarantined = @wire.call("LRANGE", "job:quarantine:#{@rule}:resque:queue:#{QUEUE}", 0, -1).map { |job| id_of(Resque.decode(job)) }
    holds("the quarantine holds all the bad ones that did not run, and no other", quarantined.sort == (@bad - ran).sort)
  end
end
