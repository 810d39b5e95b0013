# Pushes jobs from a process of its own: push_on_request.rb APP. Each line that it reads is a JSON list of jobs, and is answered
# by the list of their ids, null for one that was not taken.

require "json"
# What the application or a library prints is for nobody.
answers = $stdout.dup
answers.sync = true
$stdout.reopen($stderr)
app = ARGV.first
require app

# ActiveJobs are called by keywords, by a hash, and with an object in place of the customer's number, in turn.
def push_active(job, index)
  where = {queue: job["queue"], wait: job["in"]}.compact
  order = job["order"]
  order = order.merge("customer_id" => Customer.new(order["customer_id"])) if index % 3 == 2 && order["customer_id"]
  pushed = Object.const_get(job["class"]).set(**where)
  (index.even? ? pushed.perform_later(**order.transform_keys(&:to_sym)) : pushed.perform_later(order)).job_id
end

def push_native(job)
  pushed = Object.const_get(job["class"]).set(queue: job["queue"])
  job["in"] ? pushed.perform_in(job["in"], job["order"]) : pushed.perform_async(job["order"])
end

$stdin.each_line do |line|
  ids = JSON.parse(line).each_with_index.map { |job, index| ENV["RULE_JOBS"] == "active" ? push_active(job, index) : push_native(job) }
  answers.puts(JSON.generate(ids))
end
