# What a Sidekiq 7.3 worker under test loads: the jobs, sidekiq-cron, and sidekiq-unique-jobs where it is asked for.

require "sidekiq"
require "sidekiq-cron"
require_relative "../lib/sidekiq_test/jobs"
require_relative "../lib/sidekiq_test/rule_jobs"
require_relative "../lib/sidekiq_test/worker_settings"

Sidekiq.configure_server do |config|
  config.logger.level = Logger::WARN
  config[:poll_interval_average] = WorkerSettings::POLL_SECONDS
end

Sidekiq::Cron.configure { |config| config.cron_poll_interval = WorkerSettings::POLL_SECONDS }

if ENV["UNIQUE_JOBS"]
  require "sidekiq-unique-jobs"
  # It looks for locks whose jobs are in no queue, which nobody here wants to be surprised by.
  SidekiqUniqueJobs.configure { |config| config.reaper = :none }

  client = ->(config) { config.client_middleware { |chain| chain.add SidekiqUniqueJobs::Middleware::Client } }
  Sidekiq.configure_client(&client)
  Sidekiq.configure_server do |config|
    client.call(config)
    config.server_middleware { |chain| chain.add SidekiqUniqueJobs::Middleware::Server }
    SidekiqUniqueJobs::Server.configure(config)
  end
end

# The middleware as README shows it.
if ENV["MILLPOND_ACK"]
  eval File.read(File.expand_path("../../README.md", __dir__))[/^class MillpondAck\n.*?^end$/m]
  Sidekiq.configure_server { |config| config.server_middleware { |chain| chain.add MillpondAck } }
end
