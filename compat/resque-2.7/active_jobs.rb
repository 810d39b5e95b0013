# The jobs of an application that reaches Resque through ActiveJob.
require "active_job"
require "logger"

ActiveJob::Base.logger = Logger.new(IO::NULL)
ActiveJob::Base.queue_adapter = :resque

class ApplicationCount < ActiveJob::Base
  queue_as :active

  def perform(part, id)
    Ledger.finish(part, id)
  end
end

# Fails twice and is put back by ActiveJob itself, through the delayed queue.
class ApplicationRetried < ActiveJob::Base
  queue_as :active
  retry_on Broken::Fault, wait: 1, attempts: 3

  def perform(part, id)
    raise Broken::Fault, "execution #{executions}" if executions < 3

    Ledger.finish(part, "#{id}:#{executions}")
  end
end
