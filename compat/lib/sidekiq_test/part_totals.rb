# What has to be so when everything is over.

class SidekiqTest
  # A process that was killed stays listed until its heartbeat expires, after a minute.
  KILLED_SECONDS_MAX = 75

  def totals
    figures.part("totals: nothing ran twice, nothing is left, the dead process is pruned, no errors in the logs") do
      @finished.each_key { |part| check_no_more(part) }
      stats = Sidekiq::Stats.new
      history = Sidekiq::Stats::History.new(2)
      figures.equal("Stats::History processed and failed", [history.processed, history.failed].map { |days| days.values.sum }, [stats.processed, stats.failed])
      figures.equal("enqueued, scheduled, retries, dead", [stats.enqueued, stats.scheduled_size, stats.retry_size, stats.dead_size], [0, 0, 0, 0])
      check_killed(@killed.first) if @killed.any?
      check_reset(stats)
      errors = children.log_lines(/\bERROR\b/)
      figures.equal("errors in the workers' logs#{errors.first(3).map { |line| "\n         #{line}" }.join}", errors.size, 0)
    end
  end

  private

  def check_no_more(part)
    figures.equal("#{part}: finished in the end", [runs(part), wire.call("SCARD", "tally:#{part}:jids")], [@finished[part].size] * 2)
  end

  def check_killed(killed)
    figures.reaches("heartbeat of the process that was killed first", 0, within: KILLED_SECONDS_MAX) { wire.call("EXISTS", killed) }
    # Sidekiq 7 tidies up once a minute; this is that minute.
    wire.call("DEL", "process_cleanup")
    figures.holds("the killed process is not in ProcessSet after it has tidied up", Sidekiq::ProcessSet.new.none? { |process| process.identity == killed })
    figures.equal("nor is its name in the set of processes", wire.call("SISMEMBER", "processes", killed), 0)
  end

  def check_reset(stats)
    stats.reset("failed")
    figures.equal("Stats after reset of failed", [Sidekiq::Stats.new.processed, Sidekiq::Stats.new.failed], [stats.processed, 0])
  end
end
