# The scheduled, retry and dead sets as sorted sets: paging, searching, moving between them, trimming. No worker runs.

class SidekiqTest
  ENTRIES = 500
  # Every tenth entry can be found by this word.
  MARKED_EVERY = 10
  DEAD_MAX = 100

  def sets
    figures.part("sets: each, scan, find_job, fetch, reschedule, kill_all, retry_all, equal scores, trimming") do
      start = Time.now.to_f + 10_000
      jids = fill_retry_set(start)
      check_set_reading(start, jids)
      check_set_deletion(jids)
      check_equal_scores
      check_moves(jids.size - 2)
      check_trimming
      [Sidekiq::RetrySet, Sidekiq::DeadSet, Sidekiq::ScheduledSet].each { |set| set.new.clear }
      Sidekiq::Queue.new("sets").clear
      figures.equal("sizes after clear", set_sizes, [0, 0, 0])
    end
  end

  private

  # Fills the retry set with jobs a second apart, in an order that is not that of their scores, and returns the ids by score.
  def fill_retry_set(start)
    jobs = Array.new(ENTRIES) do |index|
      raw_job("CountJob", "sets", "sets", retry_count: 2, error_class: "RuntimeError", error_message: index % MARKED_EVERY == 0 ? "marked" : "plain")
    end
    jobs.each_with_index.to_a.shuffle(random: Random.new(1)).each { |job, index| Sidekiq::RetrySet.new.schedule(Time.at(start + index), job) }
    jobs.map { |job| job["jid"] }
  end

  def check_set_reading(start, jids)
    set = Sidekiq::RetrySet.new
    figures.equal("RetrySet#size", set.size, ENTRIES)
    figures.holds("RetrySet#each goes through all pages, latest first", set.map(&:jid) == jids.reverse)
    figures.equal("RetrySet#scan finds the marked", set.scan("marked").map(&:jid).uniq.size, ENTRIES / MARKED_EVERY)
    figures.equal("RetrySet#scan in steps of 7", set.scan("*marked*", 7).map(&:jid).uniq.size, ENTRIES / MARKED_EVERY)
    figures.equal("RetrySet#find_job", set.find_job(jids[123])&.jid, jids[123])
    figures.equal("its score, to the last digit", set.find_job(jids[123]).score, Time.at(start + 123).to_f)
    figures.equal("RetrySet#find_job of what is not there", set.find_job("0" * 24), nil)
    figures.equal("RetrySet#fetch by score", set.fetch(Time.at(start + 7).to_f).map(&:jid), [jids[7]])
    range = Time.at(start + 10).to_f..Time.at(start + 19).to_f
    figures.equal("RetrySet#fetch by range", set.fetch(range).map(&:jid), jids[10..19])
    figures.equal("Stats.retry_size", Sidekiq::Stats.new.retry_size, ENTRIES)
  end

  def check_set_deletion(jids)
    set = Sidekiq::RetrySet.new
    set.find_job(jids[50]).delete
    entry = set.find_job(jids[51])
    set.delete(entry.score, entry.jid)
    figures.equal("size after deleting two", set.size, ENTRIES - 2)
    moved = set.find_job(jids[60])
    later = moved.at.to_f + 5000.5
    moved.reschedule(later)
    figures.between("score after reschedule", set.find_job(jids[60]).score, (later - 0.001)..(later + 0.001))
    figures.equal("and it is the last one now", set.first.jid, jids[60])
  end

  # Entries of one score are told apart by their ids, and those that are not meant are put back.
  def check_equal_scores
    set = Sidekiq::ScheduledSet.new
    at = Time.at(Time.now.to_i + 9000)
    jobs = Array.new(10) { raw_job("CountJob", "sets", "sets") }
    jobs.each { |job| set.schedule(at, job) }
    set.fetch(at.to_f, jobs[4]["jid"]).first.kill
    figures.equal("of ten with one score, left after kill", set.fetch(at.to_f).map(&:jid).sort, (jobs - [jobs[4]]).map { |job| job["jid"] }.sort)
    figures.equal("and killed", Sidekiq::DeadSet.new.map(&:jid), [jobs[4]["jid"]])
    set.fetch(at.to_f, jobs[5]["jid"]).first.add_to_queue
    figures.equal("and added to the queue", queued_jids("sets"), [jobs[5]["jid"]])
    figures.equal("sizes of scheduled, retry, dead", set_sizes, [8, ENTRIES - 2, 1])
  end

  def check_moves(retries)
    Sidekiq::RetrySet.new.kill_all
    figures.equal("sizes after RetrySet#kill_all", set_sizes, [8, 0, retries + 1])
    Sidekiq::DeadSet.new.retry_all
    figures.equal("sizes after DeadSet#retry_all", set_sizes, [8, 0, 0])
    figures.equal("and the queue's", Sidekiq::Queue.new("sets").size, retries + 2)
    figures.equal("ids in the queue are all different", queued_jids("sets").uniq.size, retries + 2)
    figures.equal("retry_count is one less", Sidekiq::Queue.new("sets").filter_map { |job| job["retry_count"] }.uniq, [1])
  end

  # The dead set keeps to its limits by rank and by age; Sidekiq's own arithmetic leaves one less than the maximum.
  def check_trimming
    settings = Sidekiq.respond_to?(:default_configuration) ? Sidekiq.default_configuration : Sidekiq.options
    usual = settings[:dead_max_jobs]
    settings[:dead_max_jobs] = DEAD_MAX
    dead = Sidekiq::DeadSet.new
    dead.schedule(Time.now - settings[:dead_timeout_in_seconds] - 60, raw_job("CountJob", "sets", "sets"))
    killed = Array.new(DEAD_MAX + 50) { raw_job("CountJob", "sets", "sets").tap { |job| dead.kill(JSON.generate(job)) }["jid"] }
    figures.holds("the dead set holds the newest #{DEAD_MAX - 1}", dead.map(&:jid) == killed.last(DEAD_MAX - 1).reverse)
  ensure
    settings[:dead_max_jobs] = usual
  end

  def set_sizes
    [Sidekiq::ScheduledSet, Sidekiq::RetrySet, Sidekiq::DeadSet].map { |set| set.new.size }
  end
end
