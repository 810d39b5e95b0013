# What the parts that show JOB.* have in common. They are for Millpond alone.

require_relative "../pusher"
require_relative "../rule_figures"

class SidekiqTest
  include RuleFigures

  private

  # Runs one part, with no rule before and after it.
  def rules_part(title)
    figures.part(title) do
      Deeds.keep_in(@logs)
      rules.clear
      before = ledger
      yield
      check_ledger(before)
      figures.equal("left: queued, scheduled, retries, dead, quarantines", [Sidekiq::Stats.new.enqueued, *set_sizes, rules.quarantines], [0, 0, 0, 0, []])
    ensure
      children.end_all
      rules.clear
      clear_all
      wire.call("DEL", "none", *rules.quarantines)
    end
  end

  def rules
    @rules ||= JobRules.new(wire)
  end

  # Returns an order for a job, see Orders.
  def order_for(part, how: nil, **fields)
    {"part" => part, "how" => how}.compact.merge(fields.transform_keys(&:to_s))
  end

  def bad_order(part, how: nil)
    order_for(part, how: how, customer_id: 123)
  end

  def push_order(klass, queue, order, after: nil)
    setter = Object.const_get(klass).set(queue: queue)
    after ? setter.perform_in(after, order) : setter.perform_async(order)
  end

  def push_orders(klass, queue, order, count)
    Array.new(count) { push_order(klass, queue, order) }
  end

  # Makes all retries and scheduled jobs due.
  def make_due
    [Sidekiq::RetrySet.new, Sidekiq::ScheduledSet.new].each { |set| set.to_a.each { |entry| entry.reschedule(Time.now) } }
  end

  # Starts a process that pushes what the test's own process cannot.
  def start_pusher(environment)
    script = File.expand_path("../push_on_request.rb", __dir__)
    Pusher.new([RbConfig.ruby, script, @app], environment, File.join(@logs, "pusher.log"))
  end
end
