# The jobs that the workers run. Each leaves marks of its own in the server, under `tally:PART:…`, and by these the test
# knows what really ran: `runs` counts finished jobs and `jids` holds which they were, so that one run twice shows in the
# first and one lost in both; `attempts` counts how often each was begun.

require "digest"
require "json"
require "sidekiq"
begin
  require "sidekiq/iterable_job"
rescue LoadError
  # Came with 7.3.
end

module Tally
  module_function

  def finished(part, jid)
    Sidekiq.redis do |server|
      server.multi do |transaction|
        transaction.incr("tally:#{part}:runs")
        transaction.sadd("tally:#{part}:jids", [jid])
        yield transaction if block_given?
      end
    end
  end

  # Returns how often this job has been begun, this time included.
  def begun(part, jid)
    Sidekiq.redis { |server| server.hincrby("tally:#{part}:attempts", jid, 1) }
  end

  # The test sets `released` when long jobs may end and `healed` when failing ones may succeed.
  def told?(part, word)
    Sidekiq.redis { |server| server.get("tally:#{part}:#{word}") } == "1"
  end
end

class CountJob
  include Sidekiq::Job

  def perform(part)
    Tally.finished(part, jid)
  end
end

# Only the bulk part uses this one, so that its metrics can be told from those of the other parts.
class BulkJob < CountJob
end

# Records what it was given, for payloads that are large or in other scripts.
class EchoJob
  include Sidekiq::Job

  def self.digest(payload)
    Digest::SHA256.hexdigest(JSON.generate(payload))
  end

  def perform(part, index, payload)
    Tally.finished(part, jid) { |transaction| transaction.hset("tally:#{part}:digests", index.to_s, self.class.digest(payload)) }
  end
end

# Records the order in which jobs run.
class OrderJob
  include Sidekiq::Job

  def perform(part, word)
    Tally.finished(part, jid) { |transaction| transaction.rpush("tally:#{part}:order", word) }
  end
end

# Records how late it runs; less than nothing would be too early.
class DueJob
  include Sidekiq::Job

  def perform(part, due)
    late = Time.now.to_f - due
    Tally.finished(part, jid) { |transaction| transaction.rpush("tally:#{part}:lateness", late.to_s) }
  end
end

class FailOnceJob
  include Sidekiq::Job
  sidekiq_options retry: 5, backtrace: 5
  sidekiq_retry_in { 1 }

  def perform(part)
    raise "meant to fail the first time" if Tally.begun(part, jid) == 1

    Tally.finished(part, jid)
  end
end

# Fails until the test says otherwise; one retry, then the dead set.
class FailUntilHealedJob
  include Sidekiq::Job
  sidekiq_options retry: 1
  sidekiq_retry_in { 1 }
  sidekiq_retries_exhausted { |job, _| Sidekiq.redis { |server| server.incr("tally:#{job["args"].first}:exhausted") } }

  def perform(part)
    Tally.begun(part, jid)
    raise "meant to fail until healed" unless Tally.told?(part, "healed")

    Tally.finished(part, jid)
  end
end

# No retry at all: straight to the dead set.
class DieAtOnceJob < FailUntilHealedJob
  sidekiq_options retry: 0
end

# Not kept when it fails.
class ForgottenJob < FailUntilHealedJob
  sidekiq_options retry: false
end

# Sidekiq 7 lets the job decide: to the dead set at once, or nowhere.
class KilledByRetryJob < FailUntilHealedJob
  sidekiq_options retry: 5
  sidekiq_retry_in { :kill }
end

class DiscardedByRetryJob < FailUntilHealedJob
  sidekiq_options retry: 5
  sidekiq_retry_in { :discard }
end

# Stays in the retry set for as long as the test looks at it.
class FailForLaterJob < FailUntilHealedJob
  sidekiq_options retry: 5
  sidekiq_retry_in { 3600 }
end

# Runs until it is released, so that the worker can be stopped or killed under it.
class LongJob
  include Sidekiq::Job

  def perform(part)
    Tally.begun(part, jid)
    sleep 0.1 until Tally.told?(part, "released")
    Tally.finished(part, jid)
  end
end

# Goes through a list and records each step; it can be stopped between two steps and goes on from there.
if defined?(Sidekiq::IterableJob)
  class StepJob
    include Sidekiq::IterableJob

    def build_enumerator(_part, steps, cursor:)
      array_enumerator((0...steps).to_a, cursor: cursor)
    end

    def each_iteration(step, part, _steps)
      Sidekiq.redis { |server| server.rpush("tally:#{part}:steps", "#{jid}:#{step}") }
      sleep 0.1
    end

    def on_start
      note("starts")
    end

    def on_resume
      note("resumes")
    end

    def on_complete
      note("completes")
    end

    private

    def note(event)
      Sidekiq.redis { |server| server.incr("tally:#{arguments.first}:#{event}") }
    end
  end
end
