# What comes back to a queue although it is no new job: what a job puts back when its worker is told to end, what the scheduler
# enqueues, what failed. It is taken under rules, and on a disk that is nearly full, where new jobs are refused.
#
# Resque's jobs have no ids, and come back at the end where new ones come in: they are known by class and arguments.
class Handback < RulePart
  title "handback: TERM, the scheduler and retries under a blackhole and pauses lose nothing"

  # How many of each kind of job.
  COUNTS = {long: 2, bad_long: 2, quick: 10, failing: 4, doomed: 2, reports: 5, bad: 5, shut: 5, due: 5, due_shut: 3, due_bad: 2}.freeze
  DUE_SECONDS = 4

  private

  def tell
    @main, @long, @shut = part, "#{part}_long", "#{part}_shut"
    @jobs = {}
    @forking = Array.new(COUNTS[:long] + COUNTS[:bad_long]) { |id| worker("long#{id}", queues: @long) }
    @quick = worker("quick", queues: "#{@main},#{@shut}", fork_per_job: false)
    @scheduler = scheduler("scheduler")
    registered(*@forking, @quick)
    hand_out
    under_way { run_and_stop }
    finish
  end

  def part = "handback"

  def under_way
    yield
  end

  def hand(kind, klass, queue: @main, how: nil, after: nil, **fields)
    @jobs[kind] = Array.new(COUNTS[kind]) { push_order(klass, order(part, queue, how: how, **fields), after: after) }
  end

  # Pauses hold all of it until it is there.
  def hand_out
    [@main, @long, @shut].each { |queue| rules.say("JOB.PAUSE #{queue}") }
    hand(:long, "ExportJob", queue: @long, how: "hold")
    hand(:bad_long, "ImportJob", queue: @long, how: "hold", customer_id: 123)
    hand(:quick, "ExportJob")
    hand(:failing, "ExportJob", how: "fail briefly")
    hand(:doomed, "DoomedJob", how: "fail")
    hand(:reports, "ReportJob")
    hand(:bad, "ImportJob", customer_id: 123)
    hand(:shut, "ExportJob", queue: @shut)
    hand(:due, "ExportJob", after: DUE_SECONDS)
    hand(:due_shut, "ExportJob", queue: @shut, after: DUE_SECONDS)
    hand(:due_bad, "ImportJob", after: DUE_SECONDS, customer_id: 123)
  end

  # The long ones are under way when the rules come; bad ones that are delayed are taken at once.
  def run_and_stop
    rules.say("JOB.RESUME #{@long}")
    reaches("long jobs begun", @jobs.values_at(:long, :bad_long).flatten.sort) { begun(part).sort }
    rules.say("JOB.PAUSE #{@main} CLASS ReportJob")
    add_blackhole(part)
    caught = COUNTS[:bad] + COUNTS[:due_bad]
    reaches("quarantined", [caught]) { held_back("quarantined") }
    rules.say("JOB.RESUME #{@main}")
    carried_out(part, @jobs.values_at(:quick, :failing, :due).flatten, what: "quick, retried and delayed jobs finished")
    equal("the retried begun twice", times_begun(part, @jobs[:failing]), 2 * COUNTS[:failing])
    reaches("failures", COUNTS[:doomed]) { Resque::Failure.count }
    reaches("in the queue, in the paused one, in that of the long, delayed", [COUNTS[:reports], COUNTS[:shut] + COUNTS[:due_shut], 0, 0]) { sizes }
    stop_long(caught)
  end

  def stop_long(caught)
    @forking.each { |process| process.signal("TERM") }
    equal("exit status at TERM", @forking.map(&:wait), [0] * @forking.size)
    equal("after TERM: in the queue, in the paused one, in that of the long, delayed", sizes, [COUNTS[:reports], COUNTS[:shut] + COUNTS[:due_shut], COUNTS[:long], 0])
    equal("the long ones are back", ids_in(@long).sort, @jobs[:long].sort)
    equal("quarantined: the bad that was put back, too", held_back("quarantined"), [caught + COUNTS[:bad_long]])
  end

  def sizes
    [*[@main, @shut, @long].map { |queue| Resque.size(queue) }, Resque.count_all_scheduled_jobs]
  end

  # With no rule any more, everything runs that ever was enqueued.
  def finish
    %w[released fixed].each { |gate| Deeds.open_gate("#{part}.#{gate}") }
    ["#{@main} CLASS ReportJob", @shut].each { |pause| rules.say("JOB.RESUME #{pause}") }
    end_blackhole
    restore
    Resque::Failure.count.times { |index| Resque::Failure.requeue(index) }
    Resque::Failure.clear
    # What was delayed goes back to its list, whose time has come.
    last = worker("last", queues: @long, fork_per_job: false)
    carried_out(part, @jobs.values.flatten, what: "all jobs finished")
    twice = @jobs.values_at(:long, :bad_long, :failing, :doomed).flatten
    equal("begun twice, begun once", begun(part).tally.values.tally, {2 => twice.size, 1 => @jobs.values.flatten.size - twice.size})
    retire(@quick, @scheduler, last)
  end
end
