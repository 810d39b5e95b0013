# What comes back to a queue although it is no new job: what a worker hands back at TERM, what the poller pushes, what failed.
# It is taken under rules, and on a disk that is nearly full, where new jobs are refused.

class SidekiqTest
  # How long a stopped worker waits before it hands back. Its idle threads wait for jobs up to two seconds more: they would get
  # what is handed back, and take it with them.
  STOP_SECONDS = "3"
  # How many of each kind of job.
  HANDED = {long: 3, bad_long: 2, quick: 10, failing: 4, doomed: 2, reports: 5, bad: 5, shut: 5, due: 5, due_shut: 3, due_bad: 2}.freeze

  def handback
    rules_part("handback: TERM, the poller and retries under a blackhole and pauses lose nothing") { hand_back("handback") }
  end

  def fulldisk
    rules_part("fulldisk: the same while the disk is nearly full and new jobs are refused") do
      hand_back("fulldisk") do |under_way|
        rules.with_full_disk do
          check_refused
          under_way.call
        end
      end
    end
  end

  private

  # Goes through the story in the queue of that name; the block, where there is one, says how the middle of it is run.
  def hand_back(part)
    @part, @shut, @handed = part, "#{part}_shut", {}
    # Those that are interrupted, or fail, count once more.
    failed = HANDED.values_at(:long, :bad_long, :failing, :doomed).sum
    sidekiq_counts(processed: HANDED.values.sum + failed, failed: failed) do
      worker = start_worker(part, "-c", "8", "-t", STOP_SECONDS, "-q", part, "-q", @shut)
      begin_long
      make_rules
      hand_out
      under_way = -> { run_and_stop(worker) }
      block_given? ? yield(under_way) : under_way.call
      finish_handed
    end
  end

  def hand(kind, klass, queue: @part, how: nil, after: nil, **fields)
    @handed[kind] = Array.new(HANDED[kind]) { push_order(klass, queue, order_for(@part, how: how, **fields), after: after) }
  end

  # They are under way when the rules come.
  def begin_long
    hand(:long, "ExportJob", how: "hold")
    hand(:bad_long, "ImportJob", how: "hold", customer_id: 123)
    figures.reaches("long jobs begun", HANDED[:long] + HANDED[:bad_long]) { begun(@part).size }
  end

  # The pause of the whole queue only holds the jobs until all of them lie there.
  def make_rules
    rules.say("JOB.PAUSE #{@part} NAME until_all_are_there")
    rules.say("JOB.PAUSE #{@part} CLASS ReportJob")
    rules.say("JOB.PAUSE #{@shut}")
    add_blackhole(@part)
  end

  def hand_out
    hand(:quick, "ExportJob")
    hand(:failing, "ExportJob", how: "fail briefly")
    hand(:doomed, "DoomedJob", how: "fail")
    hand(:reports, "ReportJob")
    hand(:bad, "ImportJob", customer_id: 123)
    hand(:shut, "ExportJob", queue: @shut)
    hand(:due, "ExportJob", after: 1)
    hand(:due_shut, "ExportJob", queue: @shut, after: 1)
    hand(:due_bad, "ImportJob", after: 1, customer_id: 123)
  end

  # New jobs are refused with an error that says why, and leave nothing behind.
  def check_refused
    before = sizes_now
    attempts = {"perform_async" => -> { push_order("ExportJob", @part, order_for(@part)) }, "perform_in" => -> { push_order("ExportJob", @part, order_for(@part), after: 1) },
                "push_bulk" => -> { Sidekiq::Client.push_bulk("class" => ExportJob, "queue" => @part, "args" => [[order_for(@part)]] * 3) },
                "LPUSH" => -> { wire.call("LPUSH", "queue:#{@part}", JSON.generate(raw_job("ExportJob", @part, order_for(@part)))) }}
    attempts.each { |what, attempt| figures.equal("disk nearly full: #{what} of a new job is answered", refusal_of(&attempt), "-OOM") }
    figures.equal("scheduled, retries, dead, queued as before", sizes_now, before)
  end

  def refusal_of
    yield
    "taken"
  rescue StandardError => error
    error.message.start_with?("OOM ") ? "-OOM" : error.message
  end

  def run_and_stop(worker)
    rules.say("JOB.RESUME until_all_are_there")
    carried_out(@part, @handed.values_at(:quick, :failing, :due).flatten, what: "quick, retried and scheduled jobs finished")
    figures.equal("the retried begun twice", times_begun(@part, @handed[:failing]), 2 * HANDED[:failing])
    figures.reaches("jobs in the dead set", HANDED[:doomed]) { Sidekiq::DeadSet.new.size }
    # The poller takes one after the other.
    figures.reaches("in the queue, in the paused one, scheduled, to be retried", [HANDED[:reports], HANDED[:shut] + HANDED[:due_shut], 0, 0]) { queues_and_sets }
    caught = HANDED[:bad] + HANDED[:due_bad]
    figures.reaches("quarantined", [caught]) { held_back("quarantined") }
    stop_workers(worker)
    figures.equal("after TERM: in the queue, in the paused one, scheduled, to be retried", queues_and_sets, [HANDED[:reports] + HANDED[:long], HANDED[:shut] + HANDED[:due_shut], 0, 0])
    figures.holds("the long ones are next in line", queued_jids(@part).last(HANDED[:long]).sort == @handed[:long].sort)
    figures.equal("quarantined: the bad that was handed back, too", held_back("quarantined", "matched_in"), [caught + HANDED[:bad_long], {"queue:#{@part}" => caught + HANDED[:bad_long]}])
  end

  def queues_and_sets
    [Sidekiq::Queue.new(@part).size, Sidekiq::Queue.new(@shut).size, Sidekiq::ScheduledSet.new.size, Sidekiq::RetrySet.new.size]
  end

  # With no rule any more, everything runs that ever was pushed.
  def finish_handed
    Deeds.open_gate("#{@part}.released")
    Deeds.open_gate("#{@part}.fixed")
    ["#{@part} CLASS ReportJob", @shut].each { |pause| rules.say("JOB.RESUME #{pause}") }
    end_blackhole
    restore
    Sidekiq::DeadSet.new.retry_all
    last = start_worker("#{@part}-last", "-c", "5", "-q", @part, "-q", @shut)
    carried_out(@part, @handed.values.flatten, what: "all jobs finished")
    twice = @handed.values_at(:long, :bad_long, :failing, :doomed).flatten
    figures.equal("begun twice, begun once", begun(@part).tally.values.tally, {2 => twice.size, 1 => @handed.values.flatten.size - twice.size})
    stop_workers(last)
  end
end
