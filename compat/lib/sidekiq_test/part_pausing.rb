# Pauses of a class, of a queue and for a time, under working workers.

class SidekiqTest
  # More than a pop looks at, in one block at the pop end.
  PAUSED_BLOCK = 600
  PAUSED_BEHIND = 40
  PAUSED_SECONDS = 3

  def pausing
    rules_part("pausing: a class waits while others pass it, a queue waits, a pause ends by itself") do
      sidekiq_counts(processed: PAUSED_BLOCK + 2 * PAUSED_BEHIND + 60) do
        workers = Array.new(2) { |index| start_worker("pausing-#{index}", "-c", "3", "-q", "pausing", "-q", "beside") }
        pause_class
        pause_queue
        pause_for_a_time
        stop_workers(*workers)
      end
    end
  end

  private

  def pause_class
    rules.say("JOB.PAUSE pausing CLASS ReportJob")
    paused = push_block("ReportJob", PAUSED_BLOCK)
    others = push_block("ExportJob", PAUSED_BEHIND)
    carried_out("pausing", others, what: "jobs behind #{PAUSED_BLOCK} of a paused class finished")
    figures.equal("of the paused class begun", times_begun("pausing", paused), 0)
    figures.equal("Queue#size, Stats.enqueued", [Sidekiq::Queue.new("pausing").size, Sidekiq::Stats.new.enqueued], [PAUSED_BLOCK] * 2)
    others += push_orders("ExportJob", "pausing", order_for("pausing"), PAUSED_BEHIND)
    paused += push_orders("ReportJob", "pausing", order_for("pausing"), 20)
    carried_out("pausing", others, what: "jobs pushed after the pause finished")
    figures.holds("the paused lie as they came", queued_jids("pausing").reverse == paused)
    figures.equal("JOB.RULES LIST", rules_in_force, [["pause", "pausing CLASS ReportJob"]])
    rules.say("JOB.RESUME pausing CLASS ReportJob")
    carried_out("pausing", others + paused, what: "jobs finished after RESUME")
    @paused = others + paused
  end

  def push_block(klass, count)
    Sidekiq::Client.push_bulk("class" => Object.const_get(klass), "queue" => "pausing", "args" => Array.new(count) { [order_for("pausing")] })
  end

  # The worker asks for both queues in one BRPOP.
  def pause_queue
    rules.say("JOB.PAUSE pausing")
    waiting = push_orders("ExportJob", "pausing", order_for("pausing"), 10)
    beside = push_orders("ExportJob", "beside", order_for("beside"), 20)
    carried_out("beside", beside, what: "jobs of the other queue finished")
    figures.equal("of the paused queue begun, waiting", [times_begun("pausing", waiting), Sidekiq::Queue.new("pausing").size], [0, 10])
    rules.say("JOB.RESUME pausing")
    @paused += waiting
    carried_out("pausing", @paused, what: "jobs finished after RESUME")
  end

  def pause_for_a_time
    started = now
    rules.say("JOB.PAUSE pausing FOR #{PAUSED_SECONDS}s")
    @paused += push_orders("ExportJob", "pausing", order_for("pausing"), 10)
    carried_out("pausing", @paused, what: "jobs finished when the time of the pause is over")
    figures.between("after seconds", (now - started).round(1), PAUSED_SECONDS..(PAUSED_SECONDS + LATE_SECONDS_MAX))
    figures.equal("rules left", rules_in_force, [])
  end
end
