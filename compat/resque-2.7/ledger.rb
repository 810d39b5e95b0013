# What jobs did, kept twice: in a file that the server under test knows nothing of, and in counters on that server.
# The file is the truth that losses and double runs are seen by; the counters must agree with it.
module Ledger
  Entry = Struct.new(:kind, :part, :id, :at, :pid)

  def self.finish(part, id)
    Resque.redis.pipelined do |pipe|
      pipe.incr("compat:finished:#{part}")
      pipe.sadd("compat:finished_ids:#{part}", [id.to_s])
    end
    write("finish", part, id)
  end

  def self.start(part, id)
    write("start", part, id)
  end

  def self.attempt(part, id)
    write("attempt", part, id)
  end

  def self.attempts(part, id)
    entries("attempt", part).count { |entry| entry.id == id.to_s }
  end

  def self.finished(part)
    entries("finish", part)
  end

  def self.finished_in_all
    File.foreach(path).count { |line| line.start_with?("finish\t") }
  end

  def self.started(part)
    entries("start", part)
  end

  def self.entries(kind, part)
    File.foreach(path, chomp: true).map { |line| Entry.new(*line.split("\t")) }
        .select { |entry| entry.kind == kind && entry.part == part.to_s }
  end

  # One short append is one system call, so that lines of several processes never mix.
  def self.write(kind, part, id)
    File.open(path, "a") { |file| file.syswrite("#{kind}\t#{part}\t#{id}\t#{Time.now.to_f}\t#{Process.pid}\n") }
  end

  def self.path
    File.join(ENV.fetch("COMPAT_DIRECTORY"), "ledger")
  end
end

# Holds jobs back until the test lets them go: a file, so that it opens for every process at once.
module Gate
  # Longer than any wait of the test, so that a job that was forgotten ends nevertheless.
  HOLD_SECONDS = 120

  def self.await(name)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + HOLD_SECONDS
    sleep 0.02 until open?(name) || Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
  end

  def self.open?(name)
    File.exist?(path(name))
  end

  def self.open(name)
    File.write(path(name), "")
  end

  def self.path(name)
    File.join(ENV.fetch("COMPAT_DIRECTORY"), "gate-#{name}")
  end
end
