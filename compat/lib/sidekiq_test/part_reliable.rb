# GitLab's reliable fetch, in both its modes: a job lies in a working list until it is finished, and other workers put
# back what a dead one has left there.

class SidekiqTest
  RELIABLE_MODES = {"reliable" => "RPOPLPUSH", "semi" => "BRPOP and LPUSH"}.freeze
  RELIABLE_JOBS = 500
  RELIABLE_LONG = 5

  def reliable
    figures.part("reliable: GitLab's fetcher, #{RELIABLE_MODES.values.join("; ")}; kill -9 and TERM lose nothing") do
      # In each mode the long jobs are killed once (which nobody counts), interrupted once, and then finish.
      per_mode = RELIABLE_JOBS + RELIABLE_LONG + RELIABLE_LONG
      sidekiq_counts(processed: RELIABLE_MODES.size * per_mode, failed: RELIABLE_MODES.size * RELIABLE_LONG) do
        @reliable = RELIABLE_MODES.keys.to_h { |mode| [mode, push_reliable(mode)] }
        before = Sidekiq::Stats.new.processed
        killed = start_reliable("killed")
        @reliable.each { |mode, jids| finished_once(mode, jids, what: "#{mode}: jobs finished") }
        figures.reaches("counted by Stats.processed before the kill", RELIABLE_MODES.size * RELIABLE_JOBS) { Sidekiq::Stats.new.processed - before }
        @long = RELIABLE_MODES.keys.to_h { |mode| [mode, Array.new(RELIABLE_LONG) { LongJob.set(queue: mode).perform_async("#{mode}_long") }] }
        check_kill(killed)
        check_rescue
      end
    end
  end

  private

  def push_reliable(mode)
    Sidekiq::Client.push_bulk("class" => CountJob, "queue" => mode, "args" => Array.new(RELIABLE_JOBS) { [mode] })
  end

  def start_reliable(name, *options)
    RELIABLE_MODES.keys.map { |mode| start_worker("#{name}-#{mode}", "-c", RELIABLE_LONG.to_s, "-q", mode, *options, environment: {"RELIABLE_FETCH" => mode}) }
  end

  def check_kill(workers)
    @long.each { |mode, jids| figures.reaches("#{mode}: long jobs begun", jids.to_h { |jid| [jid, 1] }.sort) { attempts("#{mode}_long").sort } }
    figures.equal("jobs in working lists", working_lists.values.map { |list| jids_of(list).sort }.sort, @long.values.map(&:sort).sort)
    workers.each { |worker| kill_worker(worker) }
    figures.equal("jobs in working lists after kill -9", working_lists.values.sum(&:size), RELIABLE_MODES.size * RELIABLE_LONG)
  end

  # The next workers find the lists of the dead once their heartbeats have expired; they are stopped under the same jobs,
  # and the last ones finish them.
  def check_rescue
    interrupted = start_reliable("interrupted", "-t", "1")
    @long.each { |mode, jids| figures.reaches("#{mode}: begun again by others", jids.to_h { |jid| [jid, 2] }.sort) { attempts("#{mode}_long").sort } }
    stop_workers(*interrupted)
    @long.each { |mode, jids| figures.equal("#{mode}: back in the queue after TERM", queued_jids(mode).sort, jids.sort) }
    counts = RELIABLE_MODES.keys.flat_map { |mode| Sidekiq::Queue.new(mode).map { |job| job["interrupted_count"] } }
    figures.equal("their interrupted_count", counts.tally, {2 => RELIABLE_MODES.size * RELIABLE_LONG})
    @long.each_key { |mode| tell("#{mode}_long", "released") }
    last = start_reliable("last")
    @long.each { |mode, jids| finished_once("#{mode}_long", jids, what: "#{mode}: long jobs finished") }
    figures.reaches("working lists left", 0) { working_lists.size }
    stop_workers(*last)
    figures.equal("jobs given up as interrupted too often", wire.call("ZCARD", "interrupted"), 0)
  end

  def working_lists
    keys, cursor = [], "0"
    loop do
      cursor, found = wire.call("SCAN", cursor, "MATCH", "working:queue:*", "COUNT", 1000)
      keys |= found
      break if cursor == "0"
    end
    keys.to_h { |key| [key, wire.call("LRANGE", key, 0, -1)] }
  end

  def jids_of(list)
    list.map { |job| JSON.parse(job)["jid"] }
  end
end
