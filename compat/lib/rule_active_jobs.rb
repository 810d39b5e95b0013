# The jobs of the parts that show JOB.*, as an application has them that reaches Sidekiq or Resque through ActiveJob.

require "logger"
require "active_job"
require "global_id"

# Sidekiq 7.3 brings an adapter of its own, whose wrapper its Rails engine defines; this is what that does, without Rails.
if defined?(Sidekiq) && Sidekiq::VERSION >= "7"
  module Sidekiq
    module ActiveJob
      class Wrapper
        include Sidekiq::Job

        def perform(job_data)
          ::ActiveJob::Base.execute(job_data.merge("provider_job_id" => jid))
        end
      end
    end
  end
end

ActiveJob::Base.logger = Logger.new(IO::NULL)
ActiveJob::Base.queue_adapter = defined?(Sidekiq) ? :sidekiq : :resque
GlobalID.app = "compat"

# What an application hands to a job as it is: ActiveJob sends `gid://compat/Customer/123` and finds it again.
Customer = Struct.new(:id) do
  include GlobalID::Identification

  def self.find(id)
    new(Integer(id))
  end
end

class ImportJob < ActiveJob::Base
  # Sidekiq has retries of its own.
  retry_on Orders::Fault, wait: 3600, attempts: 5 unless defined?(Sidekiq)

  # Applications write both: a hash, and keywords.
  def perform(order = nil, **keywords)
    Orders.carry_out(order || keywords.transform_keys(&:to_s), job_id)
  end
end

class ExportJob < ImportJob
end
