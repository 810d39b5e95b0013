require_relative "../lib/pusher"
require_relative "../lib/rule_figures"

# One part that shows JOB.*, which Millpond alone has: there is no rule before and after it.
class RulePart < Part
  include RuleFigures

  def exercise
    Deeds.keep_in(ENV.fetch("COMPAT_DIRECTORY"))
    @wire = @target.wire
    rules.clear
    before = ledger
    tell
    check_ledger(before)
    equal("left: pending, delayed, failed, quarantines", [Resque.info[:pending], Resque.count_all_scheduled_jobs, Resque::Failure.count, rules.quarantines], [0, 0, 0, []])
  ensure
    rules.clear
    @wire.close
  end

  private

  attr_reader :figures

  def rules
    @rules ||= JobRules.new(@wire)
  end

  # Returns an order for a job with an id of its own, see Orders.
  def order(part, queue, how: nil, **fields)
    @last_id = (@last_id || 0) + 1
    {"part" => part, "queue" => queue, "id" => "#{part}-#{@last_id}", "how" => how}.compact.merge(fields.transform_keys(&:to_s))
  end

  # Enqueues a job, now or in so many seconds, and returns its id.
  def push_order(klass, order, after: nil)
    job = Object.const_get(klass)
    after ? Resque.enqueue_in_with_queue(order["queue"], after, job, order) : Resque.enqueue_to(order["queue"], job, order)
    order["id"]
  end

  # Makes all delayed jobs due.
  def make_due
    Resque.enqueue_delayed_selection { true }
  end

  # Returns the payloads in a queue, the oldest first.
  def payloads(queue)
    Resque.redis.lrange("queue:#{queue}", 0, -1).map { |job| Resque.decode(job) }
  end

  def ids_in(queue)
    payloads(queue).map { |payload| id_of(payload) }
  end

  def id_of(payload)
    payload["args"].first.then { |order| order["job_id"] || order["id"] }
  end

  # Returns the delayed lists: moments and payloads.
  def delayed
    Resque.redis.zrange("delayed_queue_schedule", 0, -1).to_h { |moment| [moment, Resque.redis.lrange("delayed:#{moment}", 0, -1)] }
  end
end
