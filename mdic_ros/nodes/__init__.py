"""The ROS 2 nodes, and what only they need. Nothing else but the demo imports rclpy."""
