# The same story, the jobs being ActiveJobs: they are enqueued by an application of its own, and `retry_on` tries them again.
class Activejob < Blackhole
  title "activejob: the same rule, the jobs being ActiveJobs of that class"

  private

  def tell
    # The wrapper of all ActiveJobs, for taking delayed ones forward.
    require "active_job"
    require "active_job/queue_adapters/resque_adapter"
    @pusher = Pusher.new([RbConfig.ruby, File.expand_path("../../lib/push_on_request.rb", __dir__), File.expand_path("../jobs.rb", __dir__)],
                         environment.transform_keys(&:to_s), File.join(ENV.fetch("COMPAT_DIRECTORY"), "logs", "pusher.log"))
    super
  ensure
    @pusher&.close
  end

  def part = "activejob"
  def environment = {RULE_JOBS: "active"}

  def push(jobs)
    @pusher.push(jobs)
  end

  def push_by_other_means
    0
  end
end
