# The jobs of the parts that show JOB.*: as jobs of Sidekiq, or, where `RULE_JOBS` says `active`, as ActiveJobs of the same
# names, since the rule that has to find them is the same.

require_relative "../deeds"

if ENV["RULE_JOBS"] == "active"
  require_relative "../rule_active_jobs"
else
  require "sidekiq"

  class ImportJob
    include Sidekiq::Job
    sidekiq_options retry: 5
    sidekiq_retry_in { |_count, error| error.is_a?(Orders::PassingFault) ? 1 : 3600 }

    def perform(order)
      Orders.carry_out(order, jid)
    end
  end

  class ExportJob < ImportJob
  end

  class ReportJob < ImportJob
  end

  # Not tried again: straight to the dead set.
  class DoomedJob < ImportJob
    sidekiq_options retry: 0
  end

  # One at a time of the same arguments, where sidekiq-unique-jobs is loaded.
  class UniqueImportJob < ImportJob
    sidekiq_options lock: :until_executed
  end
end
