# What a Sidekiq 7.3 worker under test loads: the jobs and sidekiq-cron.

require "sidekiq"
require "sidekiq-cron"
require_relative "../lib/sidekiq_test/jobs"
require_relative "../lib/sidekiq_test/worker_settings"

Sidekiq.configure_server do |config|
  config.logger.level = Logger::WARN
  config[:poll_interval_average] = WorkerSettings::POLL_SECONDS
end

Sidekiq::Cron.configure { |config| config.cron_poll_interval = WorkerSettings::POLL_SECONDS }
