# One job of a tenant at a time: exact with README's middleware, where it can be loaded, and by heartbeats without it.

class SidekiqTest
  # Tenants with so many jobs each; on stock workers a slot comes back after two heartbeats.
  ACKED = {tenants: 25, jobs: 20}.freeze
  STOCK = {tenants: 25, jobs: 2}.freeze
  LIMITED_THREADS = 10

  def limits
    rules_part("limits: one job of a tenant at a time, by heartbeats#{", and with the middleware of README" if sidekiq_seven?}") do
      sizes = sidekiq_seven? ? [ACKED, STOCK] : [STOCK]
      sidekiq_counts(processed: sizes.sum { |size| size[:tenants] * size[:jobs] }) do
        rules.say("JOB.LIMIT SET turns CLASS ExportJob BY $.args[0].tenant CONCURRENCY 1")
        limited("acked", {"MILLPOND_ACK" => "1"}, **ACKED) if sidekiq_seven?
        limited("stock", {}, **STOCK)
        figures.equal("JOB.RULES LIST", rules_in_force, [%w[limit turns]])
      end
    end
  end

  private

  def limited(part, environment, tenants:, jobs:)
    worker = start_worker(part, "-c", LIMITED_THREADS.to_s, "-q", part, environment: environment)
    started = now
    tenant_of = jobs.times.flat_map do
      tenants.times.map { |tenant| [push_order("ExportJob", part, order_for(part, how: "take a moment", tenant: tenant)), tenant] }
    end.to_h
    carried_out(part, tenant_of.keys, what: "jobs of #{tenants} tenants finished (#{environment.keys.first || "stock"})")
    puts "       #{(now - started).round(1)} s"
    figures.equal("never two of a tenant at once, most at once", most_at_once(part, tenant_of), 1)
    figures.reaches("slots held at the end", 0) { running("turns") }
    stop_workers(worker)
  end
end
