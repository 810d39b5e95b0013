# One part of the test: starts from an empty server, runs its own worker processes, and ends them.
class Part
  def self.title(text = nil)
    text ? @title = text : @title
  end

  def initialize(target, figures, children)
    @target, @figures, @children = target, figures, children
    @mine = []
  end

  def run
    @figures.part(self.class.title) do
      @target.empty
      exercise
    ensure
      @mine.reject(&:exited?).each(&:end_now)
    end
  end

  private

  def equal(...) = @figures.equal(...)
  def reaches(...) = @figures.reaches(...)
  def holds(...) = @figures.holds(...)
  def between(...) = @figures.between(...)
  def eventually(...) = Waiting.eventually(...)

  # Starts a worker. Its settings are those of a real one: how often it polls, whether it forks, how it treats TERM.
  def worker(name, queues:, fork_per_job: true, **environment)
    start(name, "resque:work",
          "QUEUES" => queues, "INTERVAL" => "0.1", "TERM_CHILD" => "1", "RESQUE_TERM_TIMEOUT" => "4",
          "FORK_PER_JOB" => fork_per_job.to_s, **environment.transform_keys(&:to_s))
  end

  def scheduler(name, **environment)
    start(name, "resque:scheduler", "RESQUE_SCHEDULER_INTERVAL" => "0.1", **environment.transform_keys(&:to_s))
  end

  def start(name, task, environment)
    child = @children.start("#{self.class.name.downcase}-#{name}", ["bundle", "exec", "rake", task], environment: environment, folder: __dir__)
    @mine << child
    child
  end

  # Returns what Resque knows of these workers once all of them have registered.
  def registered(*workers)
    workers.map do |worker|
      eventually("#{worker.name} has registered") do
        raise "#{worker.name} ended: #{worker.log_text.lines.last}" if worker.exited?

        Resque.workers.find { |known| known.pid == worker.pid }
      end
    end
  end

  # Ends workers after the job that each of them has, as an operator does.
  def retire(*workers)
    workers.each { |worker| worker.signal("QUIT") }
    equal("exit status at QUIT of #{workers.size} processes", workers.map(&:wait), [0] * workers.size)
  end

  # What a process calls itself: Resque tells there what it is doing.
  def process_title(child)
    File.read("/proc/#{child.pid}/cmdline").tr("\0", " ").strip
  rescue Errno::ENOENT, Errno::ESRCH
    ""
  end

  # Compares what finished with what was enqueued: each exactly once, by the file and by the server's own counters.
  def finished_exactly(part, ids)
    wanted = ids.map(&:to_s).tally
    seen = Ledger.finished(part).map(&:id).tally
    equal("#{part}: jobs finished", seen.values.sum, wanted.values.sum)
    equal("#{part}: jobs lost", wanted.keys - seen.keys, [])
    equal("#{part}: jobs that ran again, or were never enqueued", seen.keys.select { |id| seen[id] > wanted.fetch(id, 0) }, [])
    equal("#{part}: what the jobs counted by INCR, and by SADD the same ids",
          [Resque.redis.get("compat:finished:#{part}").to_i, Resque.redis.smembers("compat:finished_ids:#{part}").sort == seen.keys.sort],
          [seen.values.sum, true])
  end

  def await_finished(part, count, within: Waiting::SECONDS_MAX)
    eventually("#{count} jobs of #{part} have finished", within: within) { Ledger.finished(part).size >= count }
  end

  # Far above any pause between two jobs here. When nothing moves for so long nothing will, and the figures tell what is lost.
  STALLED_SECONDS = 20

  # A worker counts a job after it has finished, so what is finished may not be counted yet.
  def await_processed(count)
    processed, moved = 0, Waiting.now
    loop do
      processed, before = Resque.info[:processed], processed
      moved = Waiting.now if processed != before
      return if processed >= count || Waiting.now > moved + STALLED_SECONDS

      sleep Waiting::PAUSE_SECONDS
    end
  end

  def await_started(part, id)
    eventually("#{part} #{id} has started") { Ledger.started(part).find { |entry| entry.id == id.to_s } }
  end
end
