# Runs real Sidekiq processes against a server and compares what they did with what was asked of them. The folder of each
# Sidekiq version names its app (jobs, settings, extensions) and the parts it goes through; the parts lie beside this file.

require "json"
require "rbconfig"
require "securerandom"
require "tmpdir"
require_relative "children"
require_relative "figures"
require_relative "target"
require_relative "waiting"

class SidekiqTest
  include Waiting

  PAGE_SIZE = 25

  # Goes through the parts in order and ends the process: 0 when every figure was right. The parts that are about `rules` are
  # left out where the server knows none; `totals` comes last.
  def self.run(client, app:, parts:, rules:, gems:)
    target = Target.new(ARGV)
    ENV["REDIS_URL"] = target.url
    target.empty
    require app
    require "sidekiq/api"
    Sidekiq.logger.level = Logger::WARN
    test = new(client, app, target)
    exit test.go_through([*parts, *test.possible(rules), :totals], gems)
  end

  def initialize(client, app, target)
    @client, @app, @target = client, app, target
    @figures = Figures.new(client, target)
    @logs = Dir.mktmpdir("millpond-compat-")
    @children = Children.new(@logs)
    @wire = target.wire
    @finished = {}
    @killed = []
  end

  # Returns these parts if the server knows rules, and says what is missing otherwise.
  def possible(parts)
    refusal = rules.refusal
    puts "left out: #{parts.join(", ")}: the server answers JOB.RULES with `#{refusal}`" if refusal
    refusal ? [] : parts
  end

  def go_through(parts, gems)
    parts.each do |name|
      send(name)
      @children.end_all
    end
    ok = figures.finish(versions: versions(gems), jobs: @finished.values.sum(&:size) + Deeds.count("finished"))
    ok ? FileUtils.remove_entry(@logs) : puts("the workers' logs: #{@logs}")
    ok
  end

  private

  attr_reader :figures, :children, :wire, :target

  def versions(gems)
    gems.map { |name| "#{name} #{Gem::Specification.find_by_name(name).version}" }.push("ruby #{RUBY_VERSION}").join(", ")
  end

  # Whether this is the generation with iterable jobs, metrics and retries that can say `:kill`.
  def sidekiq_seven?
    Gem::Version.new(Sidekiq::VERSION) >= Gem::Version.new("7.3")
  end

  # Starts a worker and waits until it is in the server's list of processes.
  def start_worker(name, *options, environment: {})
    command = [RbConfig.ruby, Gem.bin_path("sidekiq", "sidekiq"), "-r", @app, "-e", "production", "-g", name, *options]
    children.start(name, command, environment: environment).tap do |child|
      eventually("#{name} is in the list of processes") { process_of(child) || (child.exited? && raise("#{name}: #{child.log_text.lines.last(3).join}")) }
    end
  end

  def process_of(child)
    Sidekiq::ProcessSet.new(false).find { |process| process["pid"] == child.pid }
  end

  # Returns the listed processes without those that were killed and stay listed until their heartbeats expire.
  def living_processes
    Sidekiq::ProcessSet.new.reject { |process| @killed.include?(process.identity) }
  end

  # Returns how many jobs the killed ones had at their last heartbeats, and have as long as these do not expire.
  def busy_of_killed
    @killed.sum { |identity| wire.call("HGET", identity, "busy").to_i }
  end

  # Kills a worker as the kernel does when memory runs out.
  def kill_worker(worker)
    @killed << process_of(worker).identity
    figures.equal("the worker ends by", worker.stop("KILL"), "KILL")
  end

  # Ends workers in the ordinary way and checks that they say goodbye with 0.
  def stop_workers(*workers)
    started = now
    workers.each { |worker| worker.signal("TERM") }
    codes = workers.map(&:wait)
    figures.equal("exit codes of workers, #{(now - started).round(1)} s after TERM", codes, workers.map { 0 })
  end

  # Checks that these jobs, and no others, have finished in a part, each of them once.
  def finished_once(part, jids, what: "jobs finished")
    @finished[part] = (@finished[part] || []) + jids
    all = @finished[part].sort
    figures.reaches("#{what}, each once", all.size) { runs(part) }
    figures.holds("  and they are the jobs that were pushed", wire.call("SMEMBERS", "tally:#{part}:jids").sort == all)
  end

  def runs(part)
    wire.call("GET", "tally:#{part}:runs").to_i
  end

  def attempts(part)
    wire.hash("tally:#{part}:attempts").transform_values(&:to_i)
  end

  # Tells the jobs of a part that they may end (`released`) or succeed (`healed`).
  def tell(part, word)
    wire.call("SET", "tally:#{part}:#{word}", "1")
  end

  # Checks what Sidekiq's own counters grew by while the block ran.
  def sidekiq_counts(processed:, failed: 0)
    before = Sidekiq::Stats.new
    yield
    figures.reaches("Stats.processed grew by", processed) { Sidekiq::Stats.new.processed - before.processed }
    figures.reaches("Stats.failed grew by", failed) { Sidekiq::Stats.new.failed - before.failed }
  end

  # Returns the ids of the jobs that are running, by the last heartbeats of the living.
  def working_jids
    living = Sidekiq::WorkSet.new.reject { |identity, _, _| @killed.include?(identity) }
    living.map { |_, _, work| work.respond_to?(:job) ? work.job.jid : work["payload"]["jid"] }.sort
  end

  # Returns the job ids in a queue as they lie there, newest first.
  def queued_jids(queue)
    wire.call("LRANGE", "queue:#{queue}", 0, -1).map { |job| JSON.parse(job)["jid"] }
  end

  # Returns a job as a program without Sidekiq would write it.
  def raw_job(klass, queue, *arguments, **more)
    now = Time.now.to_f
    {"class" => klass, "args" => arguments, "queue" => queue, "jid" => SecureRandom.hex(12), "retry" => true, "created_at" => now}
      .merge(more.transform_keys(&:to_s))
  end
end

Dir[File.join(__dir__, "sidekiq_test", "part_*.rb")].sort.each { |file| require file }
