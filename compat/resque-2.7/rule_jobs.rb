# The jobs of the parts that show JOB.*: as jobs of Resque, or, where `RULE_JOBS` says `active`, as ActiveJobs of the same names,
# since the rule that has to find them is the same. Resque's jobs have no ids, so that the orders bring some.
require_relative "../lib/deeds"

if ENV["RULE_JOBS"] == "active"
  require_relative "../lib/rule_active_jobs"
else
  # Has no retry: it becomes a failure.
  class DoomedJob
    def self.perform(order)
      Orders.carry_out(order, order.fetch("id"))
    rescue Resque::TermException
      # As an application does that wants to lose nothing when its worker is told to end.
      Resque.enqueue_to(order.fetch("queue"), self, order)
    end
  end

  class ImportJob < DoomedJob
    extend Resque::Plugins::Retry
    # What is set in variables of a class, its subclasses do not have.
    def self.retry_limit = 5
    def self.retry_delay(fault) = fault <= Orders::PassingFault ? 1 : 3600
    def self.retry_queue(_fault, order) = order.fetch("queue")
  end

  class ExportJob < ImportJob
  end

  class ReportJob < ImportJob
  end
end
