# Pauses of a class, of a queue and for a time, under working workers.
class Pausing < RulePart
  title "pausing: a class waits while others pass it, a queue waits, a pause ends by itself"

  QUEUE = "pausing"
  # More than a pop looks at, in one block at the end that workers pop from.
  BLOCK = 600
  BEHIND = 40
  SECONDS = 3
  LATE_SECONDS_MAX = 10

  private

  def tell
    processes = Array.new(2) { |id| worker("worker#{id}", queues: "#{QUEUE},beside", fork_per_job: false) }
    registered(*processes)
    a_class
    a_queue
    for_a_time
    reaches("processed, by Resque.info", Deeds.ids("finished", QUEUE).size + Deeds.ids("finished", "beside").size) { Resque.info[:processed] }
    retire(*processes)
  end

  def push_some(klass, count, queue: QUEUE)
    Array.new(count) { push_order(klass, order(queue, queue)) }
  end

  def a_class
    rules.say("JOB.PAUSE #{QUEUE} CLASS ReportJob")
    paused = push_some("ReportJob", BLOCK)
    others = push_some("ExportJob", BEHIND)
    carried_out(QUEUE, others, what: "jobs behind #{BLOCK} of a paused class finished")
    equal("of the paused class begun", times_begun(QUEUE, paused), 0)
    equal("Resque.size, info[:pending]", [Resque.size(QUEUE), Resque.info[:pending]], [BLOCK] * 2)
    others += push_some("ExportJob", BEHIND)
    paused += push_some("ReportJob", 20)
    carried_out(QUEUE, others, what: "jobs enqueued after the pause finished")
    holds("the paused lie as they came", ids_in(QUEUE) == paused)
    equal("JOB.RULES LIST", rules_in_force, [["pause", "#{QUEUE} CLASS ReportJob"]])
    rules.say("JOB.RESUME #{QUEUE} CLASS ReportJob")
    @all = others + paused
    carried_out(QUEUE, @all, what: "jobs finished after RESUME")
  end

  # The worker asks the paused queue first each time.
  def a_queue
    rules.say("JOB.PAUSE #{QUEUE}")
    waiting = push_some("ExportJob", 10)
    carried_out("beside", push_some("ExportJob", 20, queue: "beside"), what: "jobs of the other queue finished")
    equal("of the paused queue begun, waiting", [times_begun(QUEUE, waiting), Resque.size(QUEUE)], [0, 10])
    rules.say("JOB.RESUME #{QUEUE}")
    @all += waiting
    carried_out(QUEUE, @all, what: "jobs finished after RESUME")
  end

  def for_a_time
    started = Waiting.now
    rules.say("JOB.PAUSE #{QUEUE} FOR #{SECONDS}s")
    @all += push_some("ExportJob", 10)
    carried_out(QUEUE, @all, what: "jobs finished when the time of the pause is over")
    between("after seconds", (Waiting.now - started).round(1), SECONDS..(SECONDS + LATE_SECONDS_MAX))
    equal("rules left", rules_in_force, [])
  end
end
