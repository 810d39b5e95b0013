# A bad deploy: the jobs of one class and one customer hang, and then fail. Every thread is stuck in one, hundreds more wait,
# others wait to be tried again or for their time, and the application pushes on. Then the rule comes.
#
# Because all threads are stuck, every figure before and during the rule stands still and can be told beforehand.

class SidekiqTest
  # A third of the backlog is bad: good, bad, good, and so on.
  STORY_BACKLOG = 300
  STORY_WORKERS = 2
  STORY_THREADS = 3
  STORY_RETRIED = {bad: 8, good: 4}.freeze
  STORY_PUT_OFF = {bad: 10, good: 6}.freeze
  STORY_PUSHED_ON = {bad: 40, good: 20}.freeze
  STORY_SOON = {bad: 5, good: 5}.freeze
  Story = Struct.new(:part, :environment, :push, keyword_init: true)

  def blackhole
    rules_part("blackhole: #{BAD_JOBS}, added while every thread hangs in such a job") do
      push = ->(jobs) { jobs.map { |job| push_order(job["class"], job["queue"], job["order"], after: job["in"]) } }
      tell_story(Story.new(part: "blackhole", environment: {}, push: push)) { push_by_other_means }
    end
  end

  def activejob
    rules_part("activejob: the same rule, the jobs being ActiveJobs of that class") do
      environment = {"RULE_JOBS" => "active"}
      pusher = start_pusher(environment)
      tell_story(Story.new(part: "activejob", environment: environment, push: pusher.method(:push)))
    ensure
      pusher&.close
    end
  end

  private

  # Pushes more bad jobs of its own if there is a block, and gets their ids from it.
  def tell_story(story)
    @story = story
    @of = {bad: [], good: []}
    load_web
    workers = Array.new(STORY_WORKERS) { |index| start_worker("#{story.part}-#{index}", "-c", STORY_THREADS.to_s, "-q", story.part, environment: story.environment) }
    before_the_deploy
    get_stuck
    take_the_bad_out
    push_on { block_given? ? yield : [] }
    let_go
    bring_back
    stop_workers(*workers)
  end

  # Pushes so many jobs, bad or good, and returns their ids.
  def push_some(kind, count, how: nil, after: nil)
    kinds = kind == :bad ? BAD : NEARLY_BAD
    jobs = Array.new(count) { |index| kinds[index % kinds.size] }
    push_listed(jobs.map { |job| [kind, job] }, how: how, after: after)
  end

  def push_listed(list, how: nil, after: nil)
    jobs = list.map do |kind, (klass, fields)|
      {"class" => klass, "queue" => @story.part, "order" => order_for(@story.part, how: kind == :bad ? how : nil, **fields), "in" => after}.compact
    end
    @story.push.call(jobs).zip(list).map { |jid, (kind, _)| jid.tap { @of[kind] << jid } }
  end

  # Some jobs fail and will be tried again, some are for later, good and bad.
  def before_the_deploy
    @processed = Sidekiq::Stats.new.then { |stats| [stats.processed, stats.failed] }
    push_some(:bad, STORY_RETRIED[:bad], how: "fail")
    good = Array.new(STORY_RETRIED[:good]) do |index|
      klass, fields = NEARLY_BAD[index]
      {"class" => klass, "queue" => @story.part, "order" => order_for(@story.part, how: "fail first", **fields)}
    end
    @of[:good] += @story.push.call(good)
    figures.reaches("RetrySet#size", STORY_RETRIED.values.sum) { Sidekiq::RetrySet.new.size }
    put_off_retries
    STORY_PUT_OFF.each { |kind, count| push_some(kind, count, how: "hang", after: 3600) }
    figures.equal("ScheduledSet#size", Sidekiq::ScheduledSet.new.size, STORY_PUT_OFF.values.sum)
  end

  # ActiveJobs would come back after seconds.
  def put_off_retries
    Sidekiq::RetrySet.new.to_a.each { |entry| entry.reschedule(Time.now + 3600) }
  end

  # Each thread takes good jobs until it meets a bad one.
  def get_stuck
    threads = STORY_WORKERS * STORY_THREADS
    turn = ->(index) { index % 3 == 1 ? [:bad, BAD[index / 3 % BAD.size]] : [:good, NEARLY_BAD[index % NEARLY_BAD.size]] }
    push_listed(Array.new(STORY_BACKLOG, &turn), how: "hang")
    figures.reaches("bad jobs that hang", threads) { hanging.size }
    @stuck = hanging
    @queued_good = STORY_BACKLOG / 3 * 2 - (2 * threads - 1)
    @queued_bad = STORY_BACKLOG / 3 - threads
    figures.reaches("good jobs finished before all hung", 2 * threads - 1) { Deeds.ids("finished", @story.part).size }
    check_sizes("before", queued: @queued_good + @queued_bad, retries: STORY_RETRIED.values.sum, scheduled: STORY_PUT_OFF.values.sum)
  end

  def hanging
    begun(@story.part).drop(STORY_RETRIED.values.sum) & @of[:bad]
  end

  def take_the_bad_out
    figures.equal("ADD says: name, database, warnings", add_blackhole("imp").values_at("name", "db", "warnings"), [@rule, 0, []])
    @swept = {"queue:#{@story.part}" => @queued_bad, "retry" => STORY_RETRIED[:bad], "schedule" => STORY_PUT_OFF[:bad]}
    figures.reaches("INFO: matched by sweep, of which quarantined, by place", [@swept.values.sum, @swept.values.sum, @swept]) { held_back("matched_by_sweep", "quarantined", "matched_in") }
    check_sizes("during", queued: @queued_good, retries: STORY_RETRIED[:good], scheduled: STORY_PUT_OFF[:good])
  end

  # The application knows nothing of the rule.
  def push_on
    STORY_PUSHED_ON.each { |kind, count| push_some(kind, count, how: "hang") }
    more = yield
    @of[:bad] += more
    @pushed_bad = STORY_PUSHED_ON[:bad] + more.size
    figures.reaches("INFO: matched at push, quarantined", [@pushed_bad, @pushed_bad + @swept.values.sum]) { held_back("matched_at_push", "quarantined") }
    check_sizes("while both are pushed", queued: @queued_good + STORY_PUSHED_ON[:good], retries: STORY_RETRIED[:good], scheduled: STORY_PUT_OFF[:good])
    STORY_SOON.each { |kind, count| push_some(kind, count, how: "hang", after: 1) }
  end

  # Pushes bad jobs in ways that Sidekiq's `perform_async` does not use, and returns their ids.
  def push_by_other_means
    key = "queue:#{@story.part}"
    jobs = Array.new(8) { raw_job("ImportJob", @story.part, bad_order(@story.part, how: "hang")) }
    json = jobs.map { |job| JSON.generate(job) }
    length = @queued_good + STORY_PUSHED_ON[:good]
    figures.equal("LPUSH of a bad one answers what Redis would", wire.call("LPUSH", key, json[0]), length + 1)
    figures.equal("LPUSH of two", wire.call("LPUSH", key, json[1], json[2]), length + 2)
    figures.equal("in MULTI", wire.pipeline([["MULTI"], ["LPUSH", key, json[3]], ["LPUSH", key, json[4]], ["EXEC"]]).last, [length + 1] * 2)
    figures.equal("in a script", wire.call("EVAL", "return redis.call('LPUSH', KEYS[1], ARGV[1])", 1, key, json[5]), length + 1)
    figures.equal("RPUSH at the pop end", wire.call("RPUSH", key, json[6]), length + 1)
    figures.equal("LPUSHX", wire.call("LPUSHX", key, json[7]), length + 1)
    bulk = Sidekiq::Client.push_bulk("class" => ImportJob, "queue" => @story.part, "args" => Array.new(20) { [bad_order(@story.part, how: "hang")] })
    jobs.map { |job| job["jid"] } + bulk
  end

  # The hanging jobs fail, all that waits for its time is made due, and what is good runs.
  def let_go
    Deeds.open_gate("#{@story.part}.released")
    left = [STORY_RETRIED[:good] + @stuck.size, STORY_PUT_OFF[:good]]
    figures.reaches("the hanging have failed, those for soon are due: retries, scheduled", left) { set_sizes.values_at(1, 0) }
    make_due
    carried_out(@story.part, @of[:good], what: "good jobs finished")
    @at_push = @pushed_bad + @stuck.size + STORY_SOON[:bad]
    taken = [@at_push, @swept.values.sum, @of[:bad].size, @of[:bad].size]
    figures.reaches("INFO: matched at push, by sweep, in all, quarantined", taken) { held_back("matched_at_push", "matched_by_sweep", "matched", "quarantined") }
    figures.equal("INFO: by place", held_back("matched_in"), [@swept.merge("queue:#{@story.part}" => @queued_bad + @at_push)])
    figures.equal("bad jobs begun since the rule", times_begun(@story.part, @of[:bad]) - STORY_RETRIED[:bad] - @stuck.size, 0)
    check_sizes("after", queued: 0, retries: 0, scheduled: 0)
  end

  # The code is fixed; the bad jobs come back to where they were, in the order in which they came.
  def bring_back
    figures.holds("RESTORE is refused while the rule would take them again, and says which", rules.error_of("JOB.BLACKHOLE RESTORE #{@rule}").to_s.include?("'#{@rule}'"))
    figures.equal("DEL: still quarantined", end_blackhole["quarantined"], @of[:bad].size)
    Deeds.open_gate("#{@story.part}.fixed")
    check_order_of_return
    figures.equal("back in retry and schedule", [Sidekiq::RetrySet.new.size, Sidekiq::ScheduledSet.new.size], [STORY_RETRIED[:bad], STORY_PUT_OFF[:bad]])
    make_due
    carried_out(@story.part, @of.values.flatten, what: "jobs finished, the bad ones too")
    figures.equal("how often the bad ones were begun", times_begun(@story.part, @of[:bad]), @of[:bad].size + STORY_RETRIED[:bad] + @stuck.size)
    figures.equal("INFO: restored, quarantined", held_back("restored", "quarantined"), [@of[:bad].size, 0])
    check_sizes("restored", queued: 0, retries: 0, scheduled: 0)
    failures = STORY_RETRIED.values.sum + @stuck.size
    figures.reaches("Stats.processed and Stats.failed grew by", [@of.values.sum(&:size) + failures, failures]) do
      Sidekiq::Stats.new.then { |stats| [stats.processed - @processed[0], stats.failed - @processed[1]] }
    end
  end

  # A pause keeps them in the queue for as long as it takes to look at them.
  def check_order_of_return
    rules.say("JOB.PAUSE #{@story.part}")
    in_queue = @queued_bad + @at_push
    figures.equal("RESTORE: quarantined when it begins", restore["quarantined"], @of[:bad].size)
    figures.reaches("Queue#size of the restored", in_queue) { Sidekiq::Queue.new(@story.part).size }
    figures.reaches("quarantined", [0]) { held_back("quarantined") }
    figures.equal("its page shows them", queue_size_on_page, in_queue)
    jobs = wire.call("LRANGE", "queue:#{@story.part}", 0, -1).reverse.map { |job| JSON.parse(job) }
    order = jobs.map { |job| job.dig("args", 0, "job_id") || job["jid"] }
    sorted = (@of[:bad].drop(STORY_RETRIED[:bad] + STORY_PUT_OFF[:bad]) - @stuck).first(@queued_bad + @pushed_bad)
    figures.holds("in order of arrival, as far as that was one by one", order.first(sorted.size) == sorted)
    figures.equal("JOB.RESUME ends", rules.ask("JOB.RESUME #{@story.part}")["name"], @story.part)
  end

  # Compares what Sidekiq's objects say, and what its pages show, with what has to be there.
  def check_sizes(time, queued:, retries:, scheduled:)
    sizes = [Sidekiq::Queue.new(@story.part), Sidekiq::RetrySet.new, Sidekiq::ScheduledSet.new].map(&:size)
    figures.equal("#{time}: Queue#size, RetrySet#size, ScheduledSet#size", sizes, [queued, retries, scheduled])
    said = Sidekiq::Stats.new.then { |stats| [stats.enqueued, stats.queues[@story.part], stats.retry_size, stats.scheduled_size] }
    figures.equal("#{time}: Stats.enqueued, queues, retry_size, scheduled_size", said, [queued, queued, retries, scheduled])
    figures.equal("#{time}: size of the queue on the page of queues", queue_size_on_page, queued)
    %w[/retries /scheduled].zip([retries, scheduled]) do |path, size|
      figures.equal("#{time}: entries on #{path}", collect_pages(path, [size, 1].max) { |opened| opened.all(/name=["']key\[\]["'] value=["']([^"']+)["']/) }.size, size)
    end
  end

  def queue_size_on_page
    page("/queues").number(%r{queues/#{@story.part}">#{@story.part}</a>.*?<td[^>]*>#{BEFORE_NUMBER}([\d,]+)}m)
  end
end
