# The application under test: the connection, the settings and every job, loaded by the workers, the schedulers and the test itself.
require "json"
require "digest"
require "resque"
require "resque-scheduler"
require "resque-retry"
require "resque/failure/redis"
require "resque/failure/redis_multi_queue"
require_relative "ledger"

# Resque 2.7 pipelines on the connection itself where an application does; redis-rb 4.8 would print a page for each.
Redis.silence_deprecations = true

Resque.redis = ENV.fetch("COMPAT_REDIS_URL")
# Seconds, so that a worker that was killed is noticed within the test. The defaults are 60 and 300.
Resque.heartbeat_interval = 1
Resque.prune_interval = 2

Resque::Failure::MultipleWithRetrySuppression.classes = [Resque::Failure::Redis]
Resque::Failure.backend =
  if ENV["COMPAT_FAILURES"] == "multi_queue"
    Resque::Failure::RedisMultiQueue
  else
    Resque::Failure::MultipleWithRetrySuppression
  end

Resque.schedule = JSON.parse(ENV["COMPAT_SCHEDULE"]) if ENV["COMPAT_SCHEDULE"]

# Finishes at once.
class Count
  @queue = :counted

  def self.perform(part, id, *)
    Ledger.finish(part, id)
  end
end

# The same under a name of its own, for the tests that choose jobs by class.
class OtherCount < Count
  @queue = :counted
end

# Has a queue that only the delayed jobs use.
class Later < Count
  @queue = :later
end

# Is refused by its own hook before it reaches the queue.
class Refused < Count
  @queue = :counted

  def self.before_enqueue_refuse(*)
    false
  end
end

# Finishes under the digest of what it was given, so that a byte lost on the way is seen.
class Digested
  def self.perform(part, id, text)
    Ledger.finish(part, "#{id}:#{Digest::SHA256.hexdigest(text)}")
  end
end

# Runs until the test opens its gate.
class Held
  def self.perform(part, id)
    Ledger.start(part, id)
    Gate.await(part)
    Ledger.finish(part, id)
  end
end

# Puts itself back when its worker is told to end, as an application that wants to lose nothing does.
class Returning < Held
  def self.perform(part, id)
    super
  rescue Resque::TermException
    Resque.enqueue_to("#{part}_returned", self, part, id)
  end
end

# Does not end when told to, so that its worker has to kill it.
class Stubborn < Held
  def self.perform(part, id)
    Ledger.start(part, id)
    begin
      Gate.await(part)
    rescue Resque::TermException
      retry
    end
  end
end

# Fails until the test opens its gate, then finishes.
class Broken
  class Fault < StandardError; end

  def self.perform(part, id, *)
    raise Fault, "broken #{id} – ünïcode" unless Gate.open?(part)

    Ledger.finish(part, id)
  end
end

class OtherBroken < Broken
end

# Counts its attempts and fails as often as its class wants.
module Attempting
  def perform(part, id)
    Ledger.attempt(part, id)
    raise Broken::Fault, "attempt of #{id}" if Ledger.attempts(part, id) <= failures_wanted

    Ledger.finish(part, id)
  end
end

class RetriedAtOnce
  extend Resque::Plugins::Retry
  extend Attempting
  @queue = :retried
  @retry_limit = 3
  @retry_delay = 0

  def self.failures_wanted = 3
end

class RetriedWithBackoff
  extend Resque::Plugins::ExponentialBackoff
  extend Attempting
  @queue = :retried
  @backoff_strategy = [1, 2]
  @expire_retry_key_after = 500

  def self.failures_wanted = 2
end

class RetriedInVain
  extend Resque::Plugins::Retry
  extend Attempting
  @queue = :retried
  @retry_limit = 2
  @retry_delay = 1

  def self.failures_wanted = 1_000
end

class RetriedMuchLater
  extend Resque::Plugins::Retry
  extend Attempting
  @queue = :retried
  @retry_limit = 5
  @retry_delay = 5_000

  def self.failures_wanted = 1_000
end

# Changes the very list that the scheduler is emptying, through a connection of its own.
class Intruding < Count
  @queue = :intruding

  def self.before_delayed_enqueue_intrude(_part, _id, timestamp)
    connection = Redis.new(url: ENV.fetch("COMPAT_REDIS_URL"))
    connection.rpush("resque:delayed:#{timestamp}", Resque.encode(class: "Count", args: ["intruder", 0], queue: "intruding"))
    connection.close
  end
end

require_relative "active_jobs" if ENV["COMPAT_ACTIVE_JOB"]
require_relative "rule_jobs"
