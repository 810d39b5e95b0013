# One job of a tenant at a time, on stock workers that fork and that do not.
class Limits < RulePart
  title "limits: one job of a tenant at a time, through forks and failures"

  QUEUE = "limits"
  TENANTS = 8
  JOBS = 6

  private

  def tell
    rules.say("JOB.LIMIT SET turns BY $.args[0].tenant QUEUE #{QUEUE} ALL CONCURRENCY 1")
    processes = [true, true, false, false].each_with_index.map { |fork, id| worker("worker#{id}", queues: QUEUE, fork_per_job: fork) }
    registered(*processes)
    tenant_of = JOBS.times.flat_map { TENANTS.times.map { |tenant| [push(tenant, "take a moment"), tenant] } }.to_h
    carried_out(QUEUE, tenant_of.keys, what: "jobs of #{TENANTS} tenants finished")
    equal("never two of a tenant at once, most at once", most_at_once(QUEUE, tenant_of), 1)
    reaches("slots held", 0) { running("turns") }
    a_failure
    retire(*processes)
  end

  def push(tenant, how, klass: "ExportJob", part: QUEUE)
    push_order(klass, order(part, QUEUE, how: how, tenant: tenant))
  end

  # A failure gives the slot to the next job of the tenant.
  def a_failure
    push(0, "fail", klass: "DoomedJob", part: "failing")
    behind = push(0, "take a moment", part: "behind")
    carried_out("behind", [behind], what: "the job behind a failure finished")
    equal("failed, by Resque", Resque::Failure.count, 1)
    Resque::Failure.clear
    reaches("slots held after a failure", 0) { running("turns") }
  end
end
