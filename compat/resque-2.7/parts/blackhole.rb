# A bad deploy: the jobs of one class and one customer hang, and then fail. Every worker is stuck in one, hundreds more wait,
# others wait for their time or to be tried again, and the application enqueues on. Then the rule comes.
#
# Because all workers are stuck, every figure before and during the rule stands still and can be told beforehand.
class Blackhole < RulePart
  title "blackhole: #{BAD_JOBS}, added while every worker hangs in such a job"

  QUEUE = "imports"
  # A third of the backlog is bad: good, bad, good, and so on.
  BACKLOG = 300
  WORKERS = 3
  RETRIED = {bad: 6, good: 3}.freeze
  PUT_OFF = {bad: 10, good: 6}.freeze
  PUSHED_ON = {bad: 40, good: 20}.freeze
  SOON = {bad: 4, good: 4}.freeze
  FAR_SECONDS = 100_000

  private

  def tell
    require_relative "../browser"
    @browser = Browser.new
    @of = {bad: [], good: []}
    @processes = Array.new(WORKERS) { |id| worker("worker#{id}", queues: QUEUE, fork_per_job: false, **environment) }
    @processes << scheduler("scheduler", **environment)
    registered(*@processes.first(WORKERS))
    before_the_deploy
    get_stuck
    take_the_bad_out
    push_on
    let_go
    bring_back
    retire(*@processes)
  end

  def part = "blackhole"
  def environment = {}

  # Enqueues jobs as the application does and returns their ids.
  def push(jobs)
    jobs.map { |job| push_order(job["class"], job["order"], after: job["in"]) }
  end

  def push_some(kind, count, how: nil, after: nil)
    kinds = kind == :bad ? BAD : NEARLY_BAD
    push_listed(Array.new(count) { |index| [kind, kinds[index % kinds.size]] }, {kind => how}, after: after)
  end

  # `how` says how the good go, and how the bad. Those for much later are spread over some seconds, two for each.
  def push_listed(list, how, after: nil)
    jobs = list.each_with_index.map do |(kind, (klass, fields)), index|
      spread = after == FAR_SECONDS ? index / 2 % 5 : 0
      {"class" => klass, "queue" => QUEUE, "order" => order(part, QUEUE, how: how[kind], **fields), "in" => after && after + spread}.compact
    end
    push(jobs).zip(list) { |id, (kind, _)| @of[kind] << id }
  end

  # Some jobs fail and will be tried again, some are for later, good and bad. Some moments have bad ones only.
  def before_the_deploy
    push_some(:bad, RETRIED[:bad], how: "fail")
    push_some(:good, RETRIED[:good], how: "fail first")
    reaches("to be tried again", RETRIED.values.sum) { Resque.count_all_scheduled_jobs }
    push_some(:bad, PUT_OFF[:bad], after: FAR_SECONDS)
    push_some(:good, PUT_OFF[:good], after: FAR_SECONDS)
    equal("delayed jobs", Resque.count_all_scheduled_jobs, RETRIED.values.sum + PUT_OFF.values.sum)
  end

  # Each worker takes good jobs until it meets a bad one.
  def get_stuck
    list = Array.new(BACKLOG) { |index| index % 3 == 1 ? [:bad, BAD[index / 3 % BAD.size]] : [:good, NEARLY_BAD[index % NEARLY_BAD.size]] }
    push_listed(list, {bad: "hang"})
    reaches("bad jobs that hang", WORKERS) { hanging.size }
    @stuck = hanging
    @queued_good, @queued_bad = BACKLOG / 3 * 2 - (2 * WORKERS - 1), BACKLOG / 3 - WORKERS
    reaches("good jobs finished before all hung", 2 * WORKERS - 1) { Deeds.ids("finished", part).size }
    equal("Resque.working", Resque.working.map { |known| id_of(known.job["payload"]) }.sort, @stuck.sort)
    check_sizes("before", pending: @queued_good + @queued_bad, delayed: RETRIED.values.sum + PUT_OFF.values.sum)
  end

  def hanging
    begun(part).drop(RETRIED.values.sum) & @of[:bad]
  end

  def take_the_bad_out
    before = delayed
    bad = before.transform_values { |jobs| jobs.count { |job| @of[:bad].include?(id_of(Resque.decode(job))) } }
    equal("ADD says: name, database, warnings", add_blackhole("imp").values_at("name", "db", "warnings"), [@rule, 0, []])
    @swept = {"resque:queue:#{QUEUE}" => @queued_bad, **bad.reject { |_, count| count.zero? }.transform_keys { |moment| "resque:delayed:#{moment}" }}
    reaches("INFO: matched by sweep, quarantined, by place", [@swept.values.sum, @swept.values.sum, @swept]) { held_back("matched_by_sweep", "quarantined", "matched_in") }
    check_sizes("during", pending: @queued_good, delayed: RETRIED[:good] + PUT_OFF[:good])
    equal("moments that had bad ones only are gone", Resque.delayed_queue_peek(0, 100).size, before.count { |moment, jobs| jobs.size > bad[moment] })
    check_bookkeeping
  end

  # resque-scheduler notes for each payload in which lists it is.
  def check_bookkeeping
    noted = Resque.redis.keys("timestamps:*").to_h { |key| [key.delete_prefix("timestamps:"), Resque.redis.smembers(key).sort] }
    lies = delayed.flat_map { |moment, jobs| jobs.map { |job| [job, "delayed:#{moment}"] } }.group_by(&:first).transform_values { |pairs| pairs.map(&:last).uniq.sort }
    holds("timestamps:* say where all #{lies.size} delayed payloads are, and of no others", noted == lies)
  end

  # The application knows nothing of the rule.
  def push_on
    push_some(:bad, PUSHED_ON[:bad], how: "hang")
    push_some(:good, PUSHED_ON[:good])
    @pushed_bad = PUSHED_ON[:bad] + push_by_other_means
    reaches("INFO: matched at push, quarantined", [@pushed_bad, @pushed_bad + @swept.values.sum]) { held_back("matched_at_push", "quarantined") }
    check_sizes("while both are enqueued", pending: @queued_good + PUSHED_ON[:good], delayed: RETRIED[:good] + PUT_OFF[:good])
    SOON.each { |kind, count| push_some(kind, count, after: 1) }
  end

  # Enqueues bad jobs in other ways and returns how many.
  def push_by_other_means
    orders = Array.new(12) { order(part, QUEUE, how: "hang", customer_id: 123) }
    @of[:bad] += orders.map { |one| one["id"] }
    equal("RPUSH of a bad one answers what Redis would", Resque.redis.rpush("queue:#{QUEUE}", Resque.encode(class: "ImportJob", args: [orders.shift])), Resque.size(QUEUE) + 1)
    Resque.push(QUEUE, class: "ImportJob", args: [orders.shift])
    Resque.redis.multi { orders.shift(5).each { |one| Resque.enqueue_to(QUEUE, ImportJob, one) } }
    Resque.redis.pipelined { orders.shift(5).each { |one| Resque.enqueue_to(QUEUE, ImportJob, one) } }
    12
  end

  # The hanging jobs fail, all that is delayed is made due, and what is good runs.
  def let_go
    Deeds.open_gate("#{part}.released")
    reaches("the hanging have failed, those for soon are due: delayed", RETRIED[:good] + PUT_OFF[:good] + @stuck.size) { Resque.count_all_scheduled_jobs }
    make_due
    carried_out(part, @of[:good], what: "good jobs finished")
    @at_push = @pushed_bad + @stuck.size + SOON[:bad]
    taken = [@at_push, @swept.values.sum, @of[:bad].size, @of[:bad].size]
    reaches("INFO: matched at push, by sweep, in all, quarantined", taken) { held_back("matched_at_push", "matched_by_sweep", "matched", "quarantined") }
    equal("INFO: by place", held_back("matched_in"), [@swept.merge("resque:queue:#{QUEUE}" => @queued_bad + @at_push)])
    equal("bad jobs begun since the rule", times_begun(part, @of[:bad]) - RETRIED[:bad] - @stuck.size, 0)
    check_sizes("after", pending: 0, delayed: 0)
  end

  # The code is fixed; the bad jobs come back to where they were, in the order in which they came.
  def bring_back
    holds("RESTORE is refused while the rule would take them again, and says which", rules.error_of("JOB.BLACKHOLE RESTORE #{@rule}").to_s.include?("'#{@rule}'"))
    equal("DEL: still quarantined", end_blackhole["quarantined"], @of[:bad].size)
    Deeds.open_gate("#{part}.fixed")
    check_order_of_return
    equal("delayed again", Resque.count_all_scheduled_jobs, RETRIED[:bad] + PUT_OFF[:bad])
    equal("in the lists they were in", delayed.reject { |_, jobs| jobs.empty? }.to_h { |moment, jobs| ["resque:delayed:#{moment}", jobs.size] }, @swept.except("resque:queue:#{QUEUE}"))
    check_bookkeeping
    make_due
    carried_out(part, @of.values.flatten, what: "jobs finished, the bad ones too")
    equal("how often the bad ones were begun", times_begun(part, @of[:bad]), @of[:bad].size + RETRIED[:bad] + @stuck.size)
    equal("INFO: restored, quarantined", held_back("restored", "quarantined"), [@of[:bad].size, 0])
    check_sizes("restored", pending: 0, delayed: 0)
    reaches("processed, by Resque.info", @of.values.sum(&:size) + RETRIED.values.sum + @stuck.size) { Resque.info[:processed] }
  end

  # A pause keeps them in the queue for as long as it takes to look at them.
  def check_order_of_return
    rules.say("JOB.PAUSE #{QUEUE}")
    in_queue = @queued_bad + @at_push
    equal("RESTORE: quarantined when it begins", restore["quarantined"], @of[:bad].size)
    reaches("Resque.size of the restored", in_queue) { Resque.size(QUEUE) }
    reaches("quarantined", [0]) { held_back("quarantined") }
    equal("/queues shows them", sizes(@browser.get("/queues"))[QUEUE], in_queue)
    sorted = (@of[:bad].drop(RETRIED[:bad] + PUT_OFF[:bad]) - @stuck).first(@queued_bad + @pushed_bad)
    holds("in order of arrival, as far as that was one by one", ids_in(QUEUE).first(sorted.size) == sorted)
    equal("JOB.RESUME ends", rules.ask("JOB.RESUME #{QUEUE}")["name"], QUEUE)
  end

  # Compares what Resque says, and what its pages show, with what has to be there.
  def check_sizes(time, pending:, delayed:)
    equal("#{time}: Resque.size, info[:pending], delayed", [Resque.size(QUEUE), Resque.info[:pending], Resque.count_all_scheduled_jobs], [pending, pending, delayed])
    pages = %w[/overview /queues].map { |path| sizes(@browser.get(path))[QUEUE] }
    equal("#{time}: size of the queue on /overview and /queues", pages, [pending] * 2)
    equal("#{time}: jobs on /delayed", @browser.get("/delayed").scan(%r{<td>(\d+)</td>}).flatten.map(&:to_i), delayed_sizes)
  end

  def sizes(page)
    page.scan(%r{href="/queues/([^"]*)">[^<]*</a></td>\s*<td class='size'>(\d+)</td>}).to_h.transform_values(&:to_i)
  end

  def delayed_sizes
    Resque.delayed_queue_peek(0, 20).map { |moment| Resque.delayed_timestamp_size(moment) }
  end
end
